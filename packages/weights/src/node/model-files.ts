import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ggufFiles } from '@shoal/model/node';
import { WeightsError } from '../errors.ts';
import type { Manifest } from '../manifest.ts';
import { sha256, writeWhole } from './files.ts';

/** The files that are copied with a model's weights: those that are needed to run it, and its license. */
const COPIED =
  /^(config|hf_quant_config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json$|^chat_template\.jinja$|^tiktoken\.model$|^tokenization_\w+\.py$|^(LICENSE|NOTICE)(\.\w+)?$/i;
/** Far above the largest published tokenizer, of 20 MB. */
const MAX_FILE_BYTES = 64 * 1024 * 1024;

export function isCopied(name: string): boolean {
  return COPIED.test(name);
}

/** Copies a checkpoint's small files into a packed model's folder. Throws WeightsError `bad-model` or `disk-full`. */
export async function copyModelFiles(modelDir: string, outDir: string): Promise<Manifest['files']> {
  const files: Manifest['files'] = [];
  for (const { name, bytes } of await smallFiles(modelDir)) {
    await writeWhole(join(outDir, name), bytes);
    files.push({ name, bytes: bytes.byteLength, sha256: sha256(bytes) });
  }
  return files;
}

/** A directory's small files, or those that a GGUF file's metadata make. */
async function smallFiles(modelDir: string): Promise<{ name: string; bytes: Uint8Array }[]> {
  if (modelDir.endsWith('.gguf')) return ggufFiles(modelDir);
  const files: { name: string; bytes: Uint8Array }[] = [];
  for (const name of (await readdir(modelDir)).filter(isCopied).sort()) {
    const path = join(modelDir, name);
    const { size } = await stat(path);
    if (size > MAX_FILE_BYTES) {
      throw new WeightsError('bad-model', `${path} has ${size} bytes, more than the limit of ${MAX_FILE_BYTES}`);
    }
    files.push({ name, bytes: await readFile(path) });
  }
  return files;
}
