import { existsSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Quant } from '@shoal/weights';
import { ensurePacked } from '@shoal/weights/node';

export interface KeptModelOptions {
  modelDir: string;
  quant: Exclude<Quant, 'mxfp4'>;
  cacheDir: string;
  /** Writes the same model in the format of llama.cpp. */
  exportGguf: (out: string) => Promise<void>;
  /** Called before either is made, which takes minutes. */
  onMaking?: () => void;
}

/**
 * The folder of a packed model and its GGUF file, made once for each content of the checkpoint and version of the packer: the
 * folder's name has a digest of both. What was made of an earlier content of this model in this format is deleted, so the cache
 * holds one of each.
 */
export async function keptModel(options: KeptModelOptions): Promise<{ packed: string; gguf: string }> {
  const { modelDir, quant, cacheDir, exportGguf, onMaking = () => {} } = options;
  await mkdir(cacheDir, { recursive: true });
  const packedModel = await ensurePacked({
    modelDir,
    cacheDir,
    quant,
    denseQuant: quant,
    onProgress: ({ doneBytes }) => doneBytes === 0 && onMaking(),
  });
  const packed = packedModel.dir;
  const gguf = `${packed}.gguf`;
  await deleteOthers(cacheDir, basename(packed));
  if (!existsSync(gguf)) {
    onMaking();
    await exportGguf(gguf);
  }
  return { packed, gguf };
}

/** Deletes what has the same name but for the digest at its end. */
async function deleteOthers(cacheDir: string, name: string): Promise<void> {
  const stem = name.replace(/[0-9a-f]+$/, '');
  for (const other of await readdir(cacheDir)) {
    const isOfModel = other.startsWith(stem) && /^[0-9a-f]+(\.gguf(\.partial)?)?$/.test(other.slice(stem.length));
    if (isOfModel && !other.startsWith(name)) await rm(join(cacheDir, other), { recursive: true });
  }
}
