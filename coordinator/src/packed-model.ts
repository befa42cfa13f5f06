import { join } from 'node:path';
import { isDenseModel, type ModelConfig } from '@shoal/model';
import { readModelConfig } from '@shoal/model/node';
import {
  type Damage,
  ensurePacked,
  isPackedDir,
  openPacked,
  openSource,
  type PackedModel,
  type PackProgress,
} from '@shoal/weights/node';
import { UsageError } from './base/usage-error.ts';
import type { Config } from './config.ts';
import { requireTokenizer } from './text/require-tokenizer.ts';

export interface PackHooks {
  onPackProgress?: (progress: PackProgress) => void;
  /** Called with a sentence about the model on disk: what is waited for, was packed again, or lies beside it. */
  onNotice?: (text: string) => void;
  /** Ends the packing of a model. */
  signal?: AbortSignal;
}

/** Throws a UsageError for a model that tabs could hold nothing of. `model` is what the user calls it. */
export function refuseDense(config: ModelConfig, model: string): void {
  if (!isDenseModel(config)) return;
  throw new UsageError(
    `${model} is a dense model (${config.modelType}): it has no routed experts that tabs could hold; ` +
      'give --model a model with experts (docs/MODELS.md), for which this one may draft with --draft-model',
  );
}

/**
 * The model to serve, packed: its directory itself where it is a packed one, else its copy in the cache, packed first
 * where it is absent or out of date. Throws a UsageError for a dense model, and for a format that a packed directory does not have.
 */
export async function packedModel(
  config: Config,
  { onPackProgress, onNotice, signal }: PackHooks,
  onDamage: (damage: Damage) => void,
): Promise<{ packed: PackedModel; hubName: string | undefined }> {
  const { cacheDir, quant, denseQuant, offline } = config;
  const source = await openSource(config.model, { offline, signal, onNotice });
  const dir = source.dir;
  if (dir === undefined || !(await isPackedDir(dir))) {
    const packed = await ensurePacked({
      source,
      cacheDir,
      quant,
      denseQuant,
      checkConfig: (model) => refuseDense(model, source.spec),
      beforePacking: requireTokenizer,
      ...(onPackProgress && { onProgress: onPackProgress }),
      ...(onNotice && { onNotice }),
      ...(signal && { signal }),
      onDamage,
    });
    return { packed, hubName: source.alias };
  }
  const packed = await openPacked(dir, { onDamage });
  const { shape, dense } = packed.manifest;
  refuseDense(await readModelConfig(join(dir, 'config.json')), dir);
  refuseOther('--quant', quant, shape.quant, dir);
  refuseOther('--dense-quant', denseQuant, dense.format, dir);
  return { packed, hubName: undefined };
}

/** Throws a UsageError where a packed directory has another format than is wanted. */
export function refuseOther(flag: string, wanted: string | undefined, packed: string, dir: string): void {
  if (wanted === undefined || wanted === 'auto' || wanted === packed) return;
  throw new UsageError(
    `${dir} is packed as ${packed}: leave ${flag} ${wanted} out, or give the checkpoint that it was packed from`,
  );
}
