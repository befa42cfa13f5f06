import { ensurePacked, isPackedDir, openPacked, type PackedModel, type PackProgress } from '@shoal/weights/node';
import type { CoordinatorOptions } from './config.ts';
import { UsageError } from './config.ts';

export type PackedOptions = Pick<CoordinatorOptions, 'modelDir' | 'quant' | 'denseQuant' | 'cacheDir'> & {
  onPackProgress?: (progress: PackProgress) => void;
  signal?: AbortSignal;
};

/**
 * The model to serve, packed: `modelDir` itself where it is a packed directory, else its place in the cache, packed first where
 * it is absent or out of date. Throws a UsageError for a format that a packed directory has not.
 */
export async function packedModel(options: PackedOptions): Promise<PackedModel> {
  const { modelDir, quant, denseQuant, cacheDir, onPackProgress, signal } = options;
  if (!(await isPackedDir(modelDir))) {
    return ensurePacked({
      modelDir,
      cacheDir,
      quant: quant ?? 'f16',
      ...(denseQuant && { denseQuant }),
      ...(onPackProgress && { onProgress: onPackProgress }),
      ...(signal && { signal }),
    });
  }
  const packed = await openPacked(modelDir);
  const { shape, dense } = packed.manifest;
  refuseOther('--quant', quant, shape.quant, modelDir);
  refuseOther('--dense-quant', denseQuant, dense.format, modelDir);
  return packed;
}

function refuseOther(flag: string, wanted: string | undefined, packed: string, dir: string): void {
  if (wanted === undefined || wanted === packed) return;
  throw new UsageError(
    `${dir} is packed as ${packed}: leave ${flag} ${wanted} out, or give --model the checkpoint that it was packed from`,
  );
}
