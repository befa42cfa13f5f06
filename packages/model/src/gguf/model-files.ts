import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { z } from 'zod';
import type { ModelFile } from '../model-folder.ts';
import { decimal } from './config-source.ts';
import { modelConfigJson } from './config.ts';
import { type GgufFiles, openGgufFiles } from './files.ts';
import { Metadata } from './metadata.ts';
import { tokenizerJson } from './tokenizer.ts';

/** The files that a Hugging Face directory of the model would have beside its weights, made from a GGUF file's metadata. */
export async function ggufFiles(path: string): Promise<ModelFile[]> {
  const files = await openGgufFiles(path);
  try {
    const metadata = new Metadata(files.metadata, basename(path));
    const { tokenizer, config, eosTokenIds } = tokenizerJson(metadata);
    return [
      jsonFile('config.json', await modelConfigJson(metadata, files)),
      jsonFile('generation_config.json', { eos_token_id: eosTokenIds, ...sampling(metadata) }),
      jsonFile('tokenizer.json', tokenizer),
      jsonFile('tokenizer_config.json', config),
    ];
  } finally {
    await files.close();
  }
}

const jsonFile = (name: string, value: unknown): ModelFile => ({
  name,
  bytes: Buffer.from(`${JSON.stringify(value)}\n`),
});

/** The sampling that a model's authors recommend, where the file has it. */
function sampling(metadata: Metadata): Record<string, unknown> {
  const keys = {
    temperature: 'temp',
    top_k: 'top_k',
    top_p: 'top_p',
    min_p: 'min_p',
    repetition_penalty: 'penalty_repeat',
  };
  const found = Object.entries(keys).flatMap(([name, key]) => {
    const value = metadata.find(`general.sampling.${key}`, z.number());
    return value === undefined ? [] : [[name, decimal(value)] as const];
  });
  return found.length === 0 ? {} : { do_sample: true, ...Object.fromEntries(found) };
}

/**
 * Identifies the model in a GGUF file without reading its weights: SHA-256 over the metadata's files and, for each part, its name,
 * size, modification time and tensors' places.
 */
export async function ggufFingerprint(path: string): Promise<string> {
  const hash = createHash('sha256');
  for (const { name, bytes } of await ggufFiles(path)) hash.update(`\n${name}\n`).update(bytes);
  const files = await openGgufFiles(path);
  try {
    for (const file of files.files) await hashFile(hash, file);
  } finally {
    await files.close();
  }
  return hash.digest('hex');
}

async function hashFile(
  hash: ReturnType<typeof createHash>,
  { name, handle, header }: GgufFiles['files'][number],
): Promise<void> {
  const { size, mtimeMs } = await handle.stat();
  hash.update(`\n${name} ${size} ${mtimeMs}\n`);
  for (const [tensor, { type, shape, offset }] of header.tensors)
    hash.update(`${tensor} ${type.name} ${shape.join(' ')} ${offset}\n`);
}
