import { open, readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, type ModelConfig, parseModelConfig, withoutMtp } from '@shoal/model';
import { readFully, readJson } from '@shoal/model/node';
import { DENSE_FILE, readDenseHeader } from '../dense/header.ts';
import { WeightsError } from '../errors.ts';
import { digestText, parseManifest, shardHash, type Manifest } from '../manifest.ts';
import { fileMatches, hashRange, MANIFEST_FILE, SHARD_DIR, sha256 } from './files.ts';

/** Twenty times V3's manifest. */
const MAX_MANIFEST_BYTES = 64 * 1024 * 1024;

/** Shards verified at a time. */
const VERIFY_STREAMS = 4;

/** A packed model on disk. It gives access only to files that the manifest names. */
export interface PackedModel {
  readonly dir: string;
  readonly manifest: Manifest;
  /** The file of a shard, for serving it; undefined for a hash that is not in the manifest. */
  shardPath(sha256: string): string | undefined;
  /** Reads one expert's shard, and checks its hash the first time. Throws WeightsError `corrupt` naming the file. */
  readShard(layer: number, expert: number): Promise<Uint8Array>;
  /** Reads and checks every byte. Throws WeightsError `corrupt` at the first damaged file, `aborted` on the signal. */
  verify(
    onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void,
    signal?: AbortSignal,
  ): Promise<void>;
}

/**
 * Opens a folder that `packModel` has finished. Throws WeightsError `not-packed` (no manifest), `bad-manifest` or `corrupt`
 * (a file is missing or of another size, or the manifest does not match its own digest).
 */
export async function openPacked(dir: string): Promise<PackedModel> {
  const manifest = await readManifest(dir);
  const hashes = new Set(manifest.expertLayers.flatMap((layer) => manifest.shards[layer]!));
  const present = new Set(await readdir(join(dir, SHARD_DIR)).catch(() => []));
  for (const hash of hashes) {
    if (!present.has(hash)) throw corrupt(join(dir, SHARD_DIR, hash), 'is missing');
  }
  const files = [...manifest.files, { name: DENSE_FILE, bytes: manifest.dense.bytes }];
  for (const { name, bytes } of files) {
    const found = await stat(join(dir, name)).catch(() => undefined);
    if (!found) throw corrupt(join(dir, name), 'is missing');
    if (found.size !== bytes) throw corrupt(join(dir, name), `has ${found.size} bytes instead of ${bytes}`);
  }
  return new PackedFolder(dir, manifest, hashes);
}

async function readManifest(dir: string): Promise<Manifest> {
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
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
    const problem = `${dir} does not hold a complete packed model (it has no ${MANIFEST_FILE})`;
    throw new WeightsError('not-packed', `${problem}; pack one with: shoal pack`, { cause });
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
    const { shardBytes, dense, files } = this.manifest;
    const filesBytes = files.reduce((sum, { bytes }) => sum + bytes, 0);
    const totalBytes = this.#hashes.size * shardBytes + dense.bytes + filesBytes;
    let doneBytes = 0;
    const done = (bytes: number): void => {
      if (signal?.aborted) throw new WeightsError('aborted', `checking ${this.dir} was interrupted`);
      doneBytes += bytes;
      onProgress?.({ doneBytes, totalBytes });
    };
    done(0);
    for (const { name, bytes, sha256: hash } of files) {
      if (!(await fileMatches(join(this.dir, name), bytes, hash))) {
        throw corrupt(join(this.dir, name), 'is not what was packed');
      }
      done(bytes);
    }
    done(await this.#verifyDense());
    const hashes = this.#hashes.values();
    // Several at a time, so that one is read while another is hashed, on Node's own threads.
    const verifyShards = async (): Promise<void> => {
      for (const hash of hashes) {
        this.#checked.delete(hash);
        done((await this.#read(hash)).byteLength);
      }
    };
    await Promise.all(Array.from({ length: VERIFY_STREAMS }, verifyShards));
  }

  /** Checks the header and every entry of the dense file. Returns its size. */
  async #verifyDense(): Promise<number> {
    const path = join(this.dir, DENSE_FILE);
    const { dense, numNextnPredictLayers } = this.manifest;
    const config = await readPackedConfig(this.dir, numNextnPredictLayers);
    const file = await open(path, 'r');
    try {
      const read = async (position: number, length: number): Promise<Uint8Array> => {
        const buffer = new Uint8Array(length);
        await readFully(file, buffer, position);
        return buffer;
      };
      const layout = await readDenseHeader(config, path, dense.bytes, read);
      for (const entry of layout.segments.flatMap(({ entries }) => entries)) {
        if ((await hashRange(file, entry)) !== dense.entries[entry.name]) {
          throw corrupt(path, `has other bytes for ${entry.name} than were packed`);
        }
      }
    } finally {
      await file.close();
    }
    return dense.bytes;
  }

  async #read(hash: string): Promise<Uint8Array> {
    const path = join(this.dir, SHARD_DIR, hash);
    let bytes: Uint8Array<ArrayBuffer>;
    try {
      bytes = await readFile(path);
    } catch (cause) {
      throw corrupt(path, `cannot be read (${messageOf(cause)})`, cause);
    }
    if (bytes.byteLength !== this.manifest.shardBytes) {
      throw corrupt(path, `has ${bytes.byteLength} bytes instead of ${this.manifest.shardBytes}`);
    }
    if (!this.#checked.has(hash)) {
      const digest = Buffer.from(await crypto.subtle.digest('SHA-256', bytes)).toString('hex');
      if (digest !== hash) throw corrupt(path, 'does not have the SHA-256 that is its name');
      this.#checked.add(hash);
    }
    return bytes;
  }
}

/** The config of a packed model, without an MTP module if none was packed. Throws a ModelError. */
export async function readPackedConfig(dir: string, numNextnPredictLayers: number): Promise<ModelConfig> {
  const path = join(dir, 'config.json');
  const config = parseModelConfig(await readJson(path), path);
  return numNextnPredictLayers === 0 ? withoutMtp(config) : config;
}

function corrupt(path: string, what: string, cause?: unknown): WeightsError {
  const message = `${path} ${what}; delete it and pack the model again`;
  return new WeightsError('corrupt', message, cause === undefined ? undefined : { cause });
}
