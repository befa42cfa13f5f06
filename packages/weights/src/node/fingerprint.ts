import { createHash } from 'node:crypto';
import { open, readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '@shoal/model';
import { WeightsError } from '../errors.ts';
import { isCopied } from './model-files.ts';

/** A safetensors header: V3's largest file has 1,200 tensors, about 150 KB. */
const MAX_HEADER_BYTES = 128 * 1024 * 1024;

/**
 * Identifies a checkpoint without reading its weights: SHA-256 over config.json and the other files that are copied, and, for
 * each safetensors file in order of name, its name, size, modification time and header. A copy with new times counts as changed,
 * which only makes it be packed again. Throws WeightsError `bad-model`, naming the file that cannot be read.
 */
export async function sourceFingerprint(modelDir: string): Promise<string> {
  const hash = createHash('sha256');
  let path = modelDir;
  try {
    const names = (await readdir(modelDir)).sort();
    const copied = names.filter((name) => name !== 'config.json' && isCopied(name));
    for (const name of ['config.json', ...copied]) {
      path = join(modelDir, name);
      hash.update(`\n${name}\n`).update(await readFile(path));
    }
    const files = names.filter((name) => name.endsWith('.safetensors'));
    for (const name of files) {
      path = join(modelDir, name);
      const { size, mtimeMs } = await stat(path);
      hash.update(`\n${name} ${size} ${mtimeMs}\n`);
      hash.update(await readHeader(path));
    }
  } catch (cause) {
    const problem = `${path} cannot be read (${messageOf(cause)})`;
    throw new WeightsError('bad-model', `not a readable model directory: ${problem}`, { cause });
  }
  return hash.digest('hex');
}

/** The JSON header of a safetensors file, after its u64 length. It is validated where it is parsed. */
async function readHeader(path: string): Promise<Uint8Array> {
  const file = await open(path, 'r');
  try {
    const prefix = Buffer.alloc(8);
    await file.read(prefix, 0, 8, 0);
    const length = Number(prefix.readBigUInt64LE(0));
    const header = Buffer.alloc(Math.min(length, MAX_HEADER_BYTES, (await file.stat()).size));
    await file.read(header, 0, header.length, 8);
    return header;
  } finally {
    await file.close();
  }
}
