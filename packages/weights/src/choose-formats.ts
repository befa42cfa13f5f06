import type { ModelConfig } from '@shoal/model';
import type { DenseFormat } from './dense/panels.ts';
import { type Quant, QUANTS } from './layout.ts';

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

/**
 * "auto" is the format that the checkpoint's experts have, where shards can have it too, so that no bit of them changes; else q4.
 * The dense engine's weights are q8 with it. Without a choice they are f16, and so are experts that have no such format.
 */
export function chooseFormats(config: ModelConfig, { quant, denseQuant }: WantedFormats): Formats {
  const own = ownFormat(config);
  const usual = quant === undefined ? 'f16' : 'q4';
  const dense = denseQuant ?? (quant === 'auto' ? 'auto' : 'f16');
  return {
    quant: quant === undefined || quant === 'auto' ? (own ?? usual) : quant,
    denseQuant: dense === 'auto' ? 'q8' : dense,
  };
}

/** The format of shards that is that of the checkpoint's experts. */
function ownFormat({ quantisation }: ModelConfig): Quant | undefined {
  const isMxfp4 = quantisation?.formats.some(({ kind }) => kind === 'mxfp4');
  return isMxfp4 ? 'mxfp4' : undefined;
}
