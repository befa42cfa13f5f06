import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { WeightsError } from '../errors.ts';
import { digestText, parseManifest, shardHash, type Manifest } from '../manifest.ts';
import { MANIFEST_FILE, SHARD_DIR, sha256 } from './files.ts';

/** Twenty times V3's manifest. */
const MAX_MANIFEST_BYTES = 64 * 1024 * 1024;

/** A packed model on disk. Only what the manifest names can be reached through it. */
export interface PackedModel {
  readonly dir: string;
  readonly manifest: Manifest;
  /** The file of a shard, for serving it; undefined for a hash that the manifest doesn't name. */
  shardPath(sha256: string): string | undefined;
  /** One expert's shard; its hash is checked when it is first read. Throws WeightsError `corrupt` naming the file. */
  readShard(layer: number, expert: number): Promise<Uint8Array>;
  /** Read and check every shard. Throws WeightsError `corrupt` at the first that is wrong, `aborted` on the signal. */
  verify(
    onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void,
    signal?: AbortSignal,
  ): Promise<void>;
}

/**
 * Open a folder that `packModel` finished. Throws WeightsError: `not-packed` (no manifest), `bad-manifest`, `corrupt`
 * (a shard is missing, or the manifest contradicts its own digest).
 */
export async function openPacked(dir: string): Promise<PackedModel> {
  const manifest = await readManifest(dir);
  const hashes = new Set(manifest.moeLayers.flatMap((layer) => manifest.shards[layer]!));
  const present = new Set(await readdir(join(dir, SHARD_DIR)).catch(() => []));
  for (const hash of hashes) {
    if (!present.has(hash)) throw corrupt(join(dir, SHARD_DIR, hash), 'is missing');
  }
  return new PackedFolder(dir, manifest, hashes);
}

async function readManifest(dir: string): Promise<Manifest> {
  const path = join(dir, MANIFEST_FILE);
  let text: string;
  try {
    const { size } = await stat(path);
    if (size > MAX_MANIFEST_BYTES) {
      throw new WeightsError(
        'bad-manifest',
        `${path} has ${size} bytes, over ${MAX_MANIFEST_BYTES}; pack the model again`,
      );
    }
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
    throw new WeightsError(
      'not-packed',
      `${dir} holds no finished packed model (no ${MANIFEST_FILE}); pack one with: shoal pack`,
      {
        cause,
      },
    );
  }
  const manifest = parseManifest(text, path);
  if (sha256(digestText(manifest)) !== manifest.modelDigest) throw corrupt(path, 'does not match its own modelDigest');
  return manifest;
}

class PackedFolder implements PackedModel {
  readonly dir: string;
  readonly manifest: Manifest;
  readonly #hashes: ReadonlySet<string>;
  readonly #checked = new Set<string>();

  constructor(dir: string, manifest: Manifest, hashes: ReadonlySet<string>) {
    this.dir = dir;
    this.manifest = manifest;
    this.#hashes = hashes;
  }

  shardPath(hash: string): string | undefined {
    return this.#hashes.has(hash) ? join(this.dir, SHARD_DIR, hash) : undefined;
  }

  async readShard(layer: number, expert: number): Promise<Uint8Array> {
    const hash = shardHash(this.manifest, layer, expert);
    if (hash === undefined) {
      throw new WeightsError('bad-shard', `${this.manifest.modelId} has no routed expert ${expert} in layer ${layer}`);
    }
    return this.#read(hash);
  }

  async verify(
    onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void,
    signal?: AbortSignal,
  ): Promise<void> {
    const totalBytes = this.#hashes.size * this.manifest.shardBytes;
    let doneBytes = 0;
    for (const hash of this.#hashes) {
      if (signal?.aborted) throw new WeightsError('aborted', `checking ${this.dir} was interrupted`);
      this.#checked.delete(hash);
      doneBytes += (await this.#read(hash)).byteLength;
      onProgress?.({ doneBytes, totalBytes });
    }
  }

  async #read(hash: string): Promise<Uint8Array> {
    const path = join(this.dir, SHARD_DIR, hash);
    let bytes: Uint8Array;
    try {
      bytes = await readFile(path);
    } catch (cause) {
      throw corrupt(path, `cannot be read (${cause instanceof Error ? cause.message : String(cause)})`, cause);
    }
    if (bytes.byteLength !== this.manifest.shardBytes) {
      throw corrupt(path, `has ${bytes.byteLength} bytes instead of ${this.manifest.shardBytes}`);
    }
    if (!this.#checked.has(hash)) {
      if (sha256(bytes) !== hash) throw corrupt(path, 'does not have the SHA-256 that is its name');
      this.#checked.add(hash);
    }
    return bytes;
  }
}

function corrupt(path: string, what: string, cause?: unknown): WeightsError {
  const message = `${path} ${what}; delete it and pack the model again`;
  return new WeightsError('corrupt', message, cause === undefined ? undefined : { cause });
}
