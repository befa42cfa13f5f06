import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type ModelFile, readJson, tokenizerSource } from '@shoal/model/node';
import { WeightsError } from '../errors.ts';
import type { Manifest } from '../manifest.ts';
import { sha256, writeWhole } from './files.ts';

/** The files that are copied with a model's weights: those that are needed to run it, and its license. */
const COPIED =
  /^(config|hf_quant_config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|sentence_bert_config)\.json$|^chat_template\.jinja$|^tiktoken\.model$|^hy\.tiktoken$|^tokenization_\w+\.py$|^(LICENSE|NOTICE)(\.\w+)?$/i;
/** Far above the largest published tokenizer, of 20 MB. */
export const MAX_MODEL_FILE_BYTES = 64 * 1024 * 1024;

/** A manifest lists as many. */
const MAX_MODEL_FILES = 64;
const MAX_ALL_BYTES = 256 * 1024 * 1024;

export function isCopied(name: string): boolean {
  return COPIED.test(name);
}

/** Those of a model's Python files are left out that have no code of its tokenizer, as `tokenizer_config.json` says. */
export function withoutOtherCode<F extends { name: string }>(files: readonly F[], tokenizerConfig: unknown): F[] {
  const source = tokenizerSource(tokenizerConfig);
  return files.filter(({ name }) => !name.endsWith('.py') || name === source);
}

/** Throws WeightsError `bad-model` where small files are together more than belong to any model. */
export function refuseTooMany(files: readonly { bytes: number }[], where: string): void {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  if (files.length <= MAX_MODEL_FILES && bytes <= MAX_ALL_BYTES) return;
  throw new WeightsError(
    'bad-model',
    `${where} has ${files.length} files beside its weights, of ${bytes} bytes; up to ${MAX_MODEL_FILES} with ${MAX_ALL_BYTES} are read: leave those out that are not needed to run it`,
  );
}

/** Reads a directory's files that are copied. Throws WeightsError `bad-model`. */
export async function readModelFiles(dir: string): Promise<ModelFile[]> {
  const names = (await readdir(dir)).filter(isCopied).sort();
  // Whoever needs it says what is wrong with it.
  const tokenizerConfig = await readJson(join(dir, 'tokenizer_config.json')).catch(() => undefined);
  const found = names.map(async (name) => ({ name, bytes: (await stat(join(dir, name))).size }));
  const files = withoutOtherCode(await Promise.all(found), tokenizerConfig);
  for (const { name, bytes } of files) {
    if (bytes <= MAX_MODEL_FILE_BYTES) continue;
    const problem = `${join(dir, name)} has ${bytes} bytes, more than the limit of ${MAX_MODEL_FILE_BYTES}`;
    throw new WeightsError('bad-model', problem);
  }
  refuseTooMany(files, dir);
  const read = files.map(async ({ name }) => ({ name, bytes: await readFile(join(dir, name)) }));
  return Promise.all(read);
}

/** Writes a model's small files into a packed model's folder. Throws WeightsError `disk-full` or `unwritable`. */
export async function writeModelFiles(files: readonly ModelFile[], outDir: string): Promise<Manifest['files']> {
  for (const { name, bytes } of files) await writeWhole(join(outDir, name), bytes);
  return files.map(({ name, bytes }) => ({ name, bytes: bytes.byteLength, sha256: sha256(bytes) }));
}
