import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '@shoal/model';
import { WeightsError } from '../errors.ts';
import { digestText, type Manifest, manifestSchema, parseManifest } from '../manifest.ts';
import { MANIFEST_FILE, sha256 } from './files.ts';

/** Twenty times V3's manifest. */
const MAX_MANIFEST_BYTES = 64 * 1024 * 1024;

/** Completes a manifest with its digests. */
export function sealManifest(body: Omit<Manifest, 'modelDigest' | 'manifestDigest'>): Manifest {
  const manifest = manifestSchema.parse({ ...body, modelDigest: sha256(digestText(body)) });
  return { ...manifest, manifestDigest: sha256(JSON.stringify(manifest)) };
}

/**
 * Reads and checks a folder's manifest. Throws WeightsError `not-packed` (there is none), `unreadable`, `bad-manifest`, or `corrupt`
 * if it does not match one of its digests.
 */
export async function readManifest(dir: string): Promise<Manifest> {
  const path = join(dir, MANIFEST_FILE);
  let text: string;
  try {
    const { size } = await stat(path);
    if (size > MAX_MANIFEST_BYTES) {
      const problem = `${path} has ${size} bytes, more than ${MAX_MANIFEST_BYTES}`;
      throw new WeightsError('bad-manifest', `${problem}; pack the model again`);
    }
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (cause instanceof WeightsError) throw cause;
    if (!['ENOENT', 'ENOTDIR'].includes((cause as NodeJS.ErrnoException).code ?? '')) {
      const remedy = 'let this user read the folder, or choose another';
      throw new WeightsError('unreadable', `${path} cannot be read (${messageOf(cause)}); ${remedy}`, { cause });
    }
    const problem = `${dir} does not hold a complete packed model (it has no ${MANIFEST_FILE})`;
    throw new WeightsError('not-packed', `${problem}; pack one with: shoal pack`, { cause });
  }
  const manifest = parseManifest(text, path);
  const { manifestDigest: digest, ...rest } = JSON.parse(text) as Manifest;
  const isWhole = digest === undefined || sha256(JSON.stringify(rest)) === digest;
  if (isWhole && sha256(digestText(manifest)) === manifest.modelDigest) return manifest;
  const which = isWhole ? 'modelDigest' : 'manifestDigest';
  throw new WeightsError('corrupt', `${path} does not match its own ${which}; delete it and pack the model again`);
}
