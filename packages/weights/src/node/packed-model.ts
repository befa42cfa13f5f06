import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, type ModelConfig, withoutMtp } from '@shoal/model';
import { readModelConfig } from '@shoal/model/node';
import { DENSE_FILE } from '../dense/header.ts';
import type { PackedDense } from '../dense/layout.ts';
import { WeightsError } from '../errors.ts';
import { type Manifest, shardHash } from '../manifest.ts';
import { SHARD_DIR, sha256 } from './files.ts';
import { DamageError, DenseReader } from './packed-dense.ts';
import { readManifest } from './packed-manifest.ts';
import { Repacker } from './repack.ts';

/** Shards verified at a time. */
const VERIFY_STREAMS = 4;

/** Codes of a file that is gone or damaged. With any other, as for too many open files, its contents may be intact. */
const DAMAGED = new Set(['ENOENT', 'EIO', 'EISDIR', 'ENOTDIR', 'EBADMSG', 'EUCLEAN']);

/** A file of a packed model that was not what was packed. */
export interface Damage {
  path: string;
  /** Whether it was packed again. */
  mended: boolean;
  /** What was wrong, and what was done about it or has to be done. */
  text: string;
}

export interface OpenPackedOptions {
  /** The checkpoint that the model was packed from (`ModelSource.spec`). What is found damaged is packed again from it. */
  checkpoint?: string | undefined;
  /** Called once for each file that is found damaged, after it was packed again or could not be. */
  onDamage?: ((damage: Damage) => void) | undefined;
  /** Leaves out the check of everything but the manifest, for a reader of shards beside one that has made it. */
  shardsOnly?: boolean;
}

/** A packed model on disk. It gives access only to files that the manifest names, and every byte that it reads is checked. */
export interface PackedModel {
  readonly dir: string;
  readonly manifest: Manifest;
  readonly checkpoint: string | undefined;
  /** The file of a shard, for serving it; undefined for a hash that is not in the manifest. */
  shardPath(sha256: string): string | undefined;
  /** Reads one expert's shard. Throws WeightsError `corrupt`, with file and remedy, if it is damaged and cannot be mended. */
  readShard(layer: number, expert: number): Promise<Uint8Array>;
  /**
   * Reads and checks a shard of the manifest by its hash. Throws as `readShard` does, but tries again to mend what could not be
   * mended before: the disk may have room by now, or the checkpoint be back.
   */
  checkShard(sha256: string): Promise<void>;
  /** Opens the dense weights. Throws WeightsError `corrupt`, also from its `read`. */
  openDense(config: ModelConfig): Promise<PackedDense & { close(): Promise<void> }>;
  /** Reads and checks every byte. Throws WeightsError `corrupt` at the first damage not mended, `aborted` on the signal. */
  verify(
    onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void,
    signal?: AbortSignal,
  ): Promise<void>;
}

/**
 * Opens a folder that `packModel` has finished, and checks its small files. Throws WeightsError `not-packed` (no manifest),
 * `bad-manifest`, or `corrupt` (a file is damaged, missing or of another size, or the manifest does not match its own digest).
 */
export async function openPacked(dir: string, options: OpenPackedOptions = {}): Promise<PackedModel> {
  const packed = new PackedFolder(dir, await readManifest(dir), options);
  if (!options.shardsOnly) await packed.checkFiles();
  return packed;
}

type Repack = (repacker: Repacker) => Promise<void>;

class PackedFolder implements PackedModel {
  readonly dir: string;
  readonly manifest: Manifest;
  readonly checkpoint: string | undefined;
  readonly #onDamage: (damage: Damage) => void;
  readonly #hashes: ReadonlySet<string>;
  /** By file: what is being packed again, and what could not be. */
  readonly #mending = new Map<string, Promise<void>>();
  readonly #lost = new Map<string, WeightsError>();

  constructor(dir: string, manifest: Manifest, { checkpoint, onDamage = () => {} }: OpenPackedOptions) {
    this.dir = dir;
    this.manifest = manifest;
    this.checkpoint = checkpoint;
    this.#onDamage = onDamage;
    this.#hashes = new Set(manifest.expertLayers.flatMap((layer) => manifest.shards[layer]!));
  }

  /** Checks that everything is there, and the contents of the small files. */
  async checkFiles(): Promise<void> {
    for (const file of this.manifest.files) await this.#checkFile(file);
    await this.#checkDenseSize();
    const present = new Set(await readdir(join(this.dir, SHARD_DIR)).catch(() => []));
    const missing = [...this.#hashes].filter((hash) => !present.has(hash));
    if (missing.length === 0) return;
    // All at once, so that many are packed on all threads.
    const first = join(this.dir, SHARD_DIR, missing[0]!);
    const problem = missing.length === 1 ? 'is missing' : `and ${missing.length - 1} other shards are missing`;
    await this.#mend(first, problem, (repacker) => repacker.shards(new Set(missing)));
  }

  shardPath(hash: string): string | undefined {
    return this.#hashes.has(hash) ? join(this.dir, SHARD_DIR, hash) : undefined;
  }

  async readShard(layer: number, expert: number): Promise<Uint8Array> {
    const hash = shardHash(this.manifest, layer, expert);
    if (hash === undefined) {
      throw new WeightsError('bad-shard', `${this.manifest.modelId} has no routed expert ${expert} in layer ${layer}`);
    }
    return this.#shard(hash);
  }

  async checkShard(hash: string): Promise<void> {
    await this.#shard(hash, true);
  }

  async openDense(config: ModelConfig): Promise<PackedDense & { close(): Promise<void> }> {
    const path = join(this.dir, DENSE_FILE);
    const mend = (repacker: Repacker): Promise<void> => repacker.dense();
    const named = (error: unknown): never => {
      throw asDamage(error, path);
    };
    const open = (): Promise<DenseReader> => DenseReader.open(this.dir, config, this.manifest).catch(named);
    const dense = await this.#intact(path, open, mend);
    return {
      layout: dense.layout,
      read: (entry, target) => this.#intact(path, () => dense.read(entry, target).catch(named), mend),
      close: () => dense.close(),
    };
  }

  async verify(
    onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void,
    signal?: AbortSignal,
  ): Promise<void> {
    const { shardBytes, dense, files, numNextnPredictLayers } = this.manifest;
    const totalBytes = this.#hashes.size * shardBytes + files.reduce((sum, { bytes }) => sum + bytes, dense.bytes);
    let doneBytes = 0;
    const done = (bytes: number): void => {
      if (signal?.aborted) throw new WeightsError('aborted', `checking ${this.dir} was interrupted`);
      doneBytes += bytes;
      onProgress?.({ doneBytes, totalBytes });
    };
    done(0);
    for (const file of files) {
      await this.#checkFile(file);
      done(file.bytes);
    }
    await this.#verifyDense(await readPackedConfig(this.dir, numNextnPredictLayers), done);
    const hashes = this.#hashes.values();
    // Several at a time, so that one is read while another is hashed, on Node's own threads.
    const verifyShards = async (): Promise<void> => {
      for (const hash of hashes) done((await this.#shard(hash)).byteLength);
    };
    await Promise.all(Array.from({ length: VERIFY_STREAMS }, verifyShards));
  }

  async #verifyDense(config: ModelConfig, done: (bytes: number) => void): Promise<void> {
    const dense = await this.openDense(config);
    try {
      const entries = dense.layout.segments.flatMap((segment) => segment.entries);
      for (const entry of entries) {
        await dense.read(entry, new Uint8Array(entry.bytes));
        done(entry.bytes);
      }
      // The header, and what aligns the entries.
      done(this.manifest.dense.bytes - entries.reduce((sum, { bytes }) => sum + bytes, 0));
    } finally {
      await dense.close();
    }
  }

  #checkFile({ name, bytes, sha256: hash }: Manifest['files'][number]): Promise<void> {
    const path = join(this.dir, name);
    const check = async (): Promise<void> => {
      const found = await readDamaged(path);
      if (found.byteLength !== bytes) throw new DamageError(`has ${found.byteLength} bytes instead of ${bytes}`);
      if (sha256(found) !== hash) throw new DamageError('is not what was packed');
    };
    return this.#intact(path, check, (repacker) => repacker.file(name, hash));
  }

  #checkDenseSize(): Promise<void> {
    const path = join(this.dir, DENSE_FILE);
    const { bytes } = this.manifest.dense;
    const check = async (): Promise<void> => {
      const { size } = await stat(path).catch((error: unknown) => {
        throw asDamage(error, path);
      });
      if (size !== bytes) throw new DamageError(`has ${size} bytes instead of ${bytes}`);
    };
    return this.#intact(path, check, (repacker) => repacker.dense());
  }

  #shard(hash: string, retry = false): Promise<Uint8Array> {
    const path = join(this.dir, SHARD_DIR, hash);
    const read = async (): Promise<Uint8Array> => {
      const bytes = await readDamaged(path);
      const { shardBytes } = this.manifest;
      if (bytes.byteLength !== shardBytes) {
        throw new DamageError(`has ${bytes.byteLength} bytes instead of ${shardBytes}`);
      }
      // Each time, since a disk may give other bytes than before. On another thread.
      const digest = Buffer.from(await crypto.subtle.digest('SHA-256', bytes)).toString('hex');
      if (digest !== hash) throw new DamageError('does not have the SHA-256 that is its name');
      return bytes;
    };
    return this.#intact(path, read, (repacker) => repacker.shards(new Set([hash])), retry);
  }

  /** What `read` gives, after packing the file again if `read` throws a DamageError. Throws WeightsError `corrupt`. */
  async #intact<T>(path: string, read: () => Promise<T>, repack: Repack, retry = false): Promise<T> {
    const readNow = async (): Promise<T> => {
      const value = await read();
      this.#lost.delete(path);
      return value;
    };
    try {
      return await readNow();
    } catch (error) {
      if (!(error instanceof DamageError)) throw error;
      await this.#mend(path, error.message, repack, retry);
    }
    try {
      return await readNow();
    } catch (error) {
      if (!(error instanceof DamageError)) throw error;
      throw this.#lose(path, `${error.message} again after it was packed anew, so the disk may be failing`, error);
    }
  }

  /** Once for all that wait for the file, and after a failure only with `retry`: each request would try otherwise. */
  async #mend(path: string, problem: string, repack: Repack, retry = false): Promise<void> {
    const lost = this.#lost.get(path);
    if (lost && !(retry && this.checkpoint !== undefined)) throw lost;
    const mending = this.#mending.get(path) ?? this.#repack(path, problem, repack);
    this.#mending.set(path, mending);
    try {
      await mending;
    } finally {
      this.#mending.delete(path);
    }
  }

  async #repack(path: string, problem: string, repack: Repack): Promise<void> {
    const { checkpoint } = this;
    if (checkpoint === undefined) throw this.#lose(path, problem);
    try {
      await repack(new Repacker(this.dir, this.manifest, checkpoint));
    } catch (cause) {
      throw this.#lose(path, `${problem}, and could not be packed again (${messageOf(cause)})`, cause);
    }
    this.#onDamage({ path, mended: true, text: `${path} ${problem}. It was packed again from ${checkpoint}.` });
  }

  #lose(path: string, problem: string, cause?: unknown): WeightsError {
    const { shape, dense } = this.manifest;
    const from = this.checkpoint ?? 'CHECKPOINT';
    const command = `shoal pack --model ${from} --out ${this.dir} --quant ${shape.quant} --dense-quant ${dense.format}`;
    const text = `${path} ${problem}; mend it with: ${command}`;
    const error = new WeightsError('corrupt', text, cause === undefined ? undefined : { cause });
    const isKnown = this.#lost.has(path);
    this.#lost.set(path, error);
    if (!isKnown) this.#onDamage({ path, mended: false, text });
    return error;
  }
}

/** Reads a whole file. Throws DamageError if it is gone or unreadable. */
async function readDamaged(path: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return await readFile(path);
  } catch (error) {
    throw asDamage(error, path);
  }
}

/** An error of reading a file, as DamageError if it tells of damage, and else with the file's name. */
function asDamage(error: unknown, path: string): Error {
  if (error instanceof DamageError) return error;
  const { code = '' } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return new DamageError('is missing', { cause: error });
  if (DAMAGED.has(code)) return new DamageError(`cannot be read (${messageOf(error)})`, { cause: error });
  if (error instanceof WeightsError) return new DamageError(error.message.replace(`${path} `, ''), { cause: error });
  return new WeightsError('unreadable', `${path} cannot be read (${messageOf(error)})`, { cause: error });
}

/** The config of a packed model, without an MTP module if none was packed. Throws a ModelError. */
export async function readPackedConfig(dir: string, numNextnPredictLayers: number): Promise<ModelConfig> {
  const path = join(dir, 'config.json');
  const config = await readModelConfig(path);
  return numNextnPredictLayers === 0 ? withoutMtp(config) : config;
}
