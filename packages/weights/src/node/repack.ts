import { open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DENSE_FILE, denseFile } from '../dense/header.ts';
import type { DenseEntry } from '../dense/layout.ts';
import { WeightsError } from '../errors.ts';
import { type Manifest, shardHash } from '../manifest.ts';
import { asWriteError, hashRange, SHARD_DIR, sha256, writeWhole } from './files.ts';
import type { PackJob } from './jobs.ts';
import { openPool, threadsFor } from './pack-pool.ts';
import type { ModelSource } from './source/model-source.ts';
import { openSource } from './source/open-source.ts';

/** Larger shards are packed on a thread, since the calling one may be serving. */
const INLINE_BYTES = 4 * 2 ** 20;

/**
 * Packs damaged parts of a packed model again from its checkpoint. Other processes may serve from the folder meanwhile: shards
 * and files are replaced whole, and the bytes of dense tensors by those that the manifest names, which every reader checks.
 * Every method throws a WeightsError or the checkpoint's error, and `changed` where the checkpoint no longer gives these bytes.
 */
export class Repacker {
  readonly #dir: string;
  readonly #manifest: Manifest;
  readonly #checkpoint: string;

  constructor(dir: string, manifest: Manifest, checkpoint: string) {
    this.#dir = dir;
    this.#manifest = manifest;
    this.#checkpoint = checkpoint;
  }

  #source(): Promise<ModelSource> {
    return openSource(this.#checkpoint);
  }

  /** Shards of the manifest, by hash. */
  shards(hashes: ReadonlySet<string>): Promise<void> {
    const jobs = new Map<string, PackJob>();
    for (const layer of this.#manifest.expertLayers) {
      for (const [expert, hash] of this.#manifest.shards[layer]!.entries()) {
        if (hashes.has(hash)) jobs.set(hash, { kind: 'expert', layer, expert });
      }
    }
    return this.#run([...jobs.values()]);
  }

  /** The header of the dense file, its size, and every entry whose bytes are wrong. */
  async dense(): Promise<void> {
    const wrong = await this.#mendHeader();
    await this.#run(wrong.map(({ name }) => ({ kind: 'dense', name })));
  }

  async file(name: string, hash: string): Promise<void> {
    const files = await (await this.#source()).files();
    const bytes = files.find((file) => file.name === name)?.bytes;
    if (bytes === undefined || sha256(bytes) !== hash) throw this.#changed(name);
    await writeWhole(join(this.#dir, name), bytes);
  }

  /** Writes the header. Returns the entries that are wrong. */
  async #mendHeader(): Promise<DenseEntry[]> {
    const { dense } = this.#manifest;
    const checkpoint = await (await this.#source()).openFew();
    const { layout, header } = denseFile(checkpoint.config, dense.format);
    await checkpoint.close();
    if (layout.totalBytes !== dense.bytes) throw this.#changed('config.json');
    const path = join(this.#dir, DENSE_FILE);
    try {
      // Creates the file where it is missing.
      await (await open(path, 'a')).close();
      const file = await open(path, 'r+');
      try {
        if ((await stat(path)).size !== dense.bytes) await file.truncate(dense.bytes);
        await file.write(header, 0, header.byteLength, 0);
        const wrong: DenseEntry[] = [];
        for (const entry of layout.segments.flatMap(({ entries }) => entries)) {
          // What cannot be read may still be written: a disk then puts another sector in place of a bad one.
          const hash = await hashRange(file, entry).catch(() => undefined);
          if (hash !== dense.entries[entry.name]) wrong.push(entry);
        }
        return wrong;
      } finally {
        await file.close();
      }
    } catch (error) {
      throw asWriteError(error, path);
    }
  }

  async #run(jobs: readonly PackJob[]): Promise<void> {
    const { shape, dense, shardBytes } = this.#manifest;
    const place = { spec: this.#checkpoint, stageDir: undefined };
    const task = { place, outDir: this.#dir, shape, dense: dense.format, measure: false };
    const checkpoint = await (await this.#source()).openFew();
    try {
      const few = shardBytes > INLINE_BYTES ? 1 : 0;
      const threads = Math.max(few, threadsFor(shape, jobs.length * shardBytes));
      const pool = openPool({ ...task, denseFile: DENSE_FILE }, checkpoint, threads);
      const next = jobs.values();
      const work = async (): Promise<void> => {
        for (const job of next) await this.#check(job, (await pool.run(job)).sha256);
      };
      try {
        await Promise.all(Array.from({ length: pool.slots }, work));
      } finally {
        await pool.close();
      }
    } finally {
      await checkpoint.close();
    }
  }

  /** Throws if a job has given other bytes than were packed before. */
  async #check(job: PackJob, hash: string): Promise<void> {
    const { dense } = this.#manifest;
    const isExpert = job.kind === 'expert';
    const expected = isExpert ? shardHash(this.#manifest, job.layer, job.expert) : dense.entries[job.name];
    if (hash === expected) return;
    const known = Object.values(this.#manifest.shards).some((hashes) => hashes.includes(hash));
    if (isExpert && !known) await rm(join(this.#dir, SHARD_DIR, hash), { force: true });
    throw this.#changed(isExpert ? `layer ${job.layer}, expert ${job.expert}` : job.name);
  }

  #changed(what: string): WeightsError {
    return new WeightsError('changed', `${this.#checkpoint} now holds another ${what} than was packed`);
  }
}
