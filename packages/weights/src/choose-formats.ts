import { expertLayers, type ModelConfig } from '@shoal/model';
import type { DenseFormat } from './dense/panels.ts';
import { expertShape, type Quant, QUANTS, shardBytes } from './layout.ts';

/** What was asked for: a format, the best for the checkpoint ("auto"), or nothing. */
export interface WantedFormats {
  quant?: Quant | 'auto' | undefined;
  denseQuant?: DenseFormat | 'auto' | undefined;
}

/** The formats of the experts and of the dense engine's weights. */
export interface Formats {
  quant: Quant;
  denseQuant: DenseFormat;
}

export const QUANT_CHOICES = [...QUANTS, 'auto'] as const;

/** Experts that take more than this in f16 are packed as with "auto" unless another format is asked for. */
const LARGE_EXPERTS_BYTES = 2 ** 30;

/**
 * "auto" is the format that the checkpoint's experts have, where shards can have it too, so that no bit of them changes; else q4.
 * The dense engine's weights are q8 with it. Without a choice, a large model's formats are those of "auto", and a small one's
 * f16, but for experts that have a format of their own. A dense model has no experts, and `quant` means nothing.
 */
export function chooseFormats(config: ModelConfig, { quant, denseQuant }: WantedFormats): Formats {
  const isAuto = quant === 'auto' || (quant === undefined && isLarge(config));
  const dense = denseQuant ?? (isAuto ? 'auto' : 'f16');
  return {
    quant: quant === undefined || quant === 'auto' ? (ownFormat(config) ?? (isAuto ? 'q4' : 'f16')) : quant,
    denseQuant: dense === 'auto' ? 'q8' : dense,
  };
}

function isLarge(config: ModelConfig): boolean {
  const experts = expertLayers(config).length * config.nRoutedExperts;
  return experts * shardBytes(expertShape(config, 'f16')) > LARGE_EXPERTS_BYTES;
}

/** The format of shards that is that of the checkpoint's experts. */
function ownFormat({ quantisation }: ModelConfig): Quant | undefined {
  const isMxfp4 = quantisation?.formats.some(({ kind }) => kind === 'mxfp4');
  return isMxfp4 ? 'mxfp4' : undefined;
}
