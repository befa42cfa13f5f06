import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelFile } from '@shoal/model/node';
import { WeightsError } from '../errors.ts';
import type { Manifest } from '../manifest.ts';
import { sha256, writeWhole } from './files.ts';

/** The files that are copied with a model's weights: those that are needed to run it, and its license. */
const COPIED =
  /^(config|hf_quant_config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json$|^chat_template\.jinja$|^tiktoken\.model$|^tokenization_\w+\.py$|^(LICENSE|NOTICE)(\.\w+)?$/i;
/** Far above the largest published tokenizer, of 20 MB. */
export const MAX_MODEL_FILE_BYTES = 64 * 1024 * 1024;

export function isCopied(name: string): boolean {
  return COPIED.test(name);
}

/** Reads a directory's files that are copied. Throws WeightsError `bad-model`. */
export async function readModelFiles(dir: string): Promise<ModelFile[]> {
  const files: ModelFile[] = [];
  for (const name of (await readdir(dir)).filter(isCopied).sort()) {
    const path = join(dir, name);
    const { size } = await stat(path);
    if (size > MAX_MODEL_FILE_BYTES) {
      throw new WeightsError('bad-model', `${path} has ${size} bytes, more than the limit of ${MAX_MODEL_FILE_BYTES}`);
    }
    files.push({ name, bytes: await readFile(path) });
  }
  return files;
}

/** Writes a model's small files into a packed model's folder. Throws WeightsError `disk-full` or `unwritable`. */
export async function writeModelFiles(files: readonly ModelFile[], outDir: string): Promise<Manifest['files']> {
  for (const { name, bytes } of files) await writeWhole(join(outDir, name), bytes);
  return files.map(({ name, bytes }) => ({ name, bytes: bytes.byteLength, sha256: sha256(bytes) }));
}
