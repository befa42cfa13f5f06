import { mkdir, readdir, rm } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { expertTensorNames, moeLayers, type ModelConfig } from '@shoal/model';
import { openCheckpoint, type Checkpoint } from '@shoal/model/node';
import { WeightsError } from '../errors.ts';
import { packExpert } from '../expert.ts';
import { shardBytes, type ExpertShape, type Quant } from '../layout.ts';
import { digestText, FORMAT_VERSION, manifestSchema, PACKER_VERSION, type Manifest } from '../manifest.ts';
import {
  fileMatches,
  freeBytesOf,
  lockFolder,
  MANIFEST_FILE,
  SHARD_DIR,
  sha256,
  writeWhole,
  type PackLock,
} from './files.ts';
import { sourceFingerprint } from './fingerprint.ts';
import { JOURNAL_FILE, openJournal, type Journal } from './journal.ts';
import { openPacked, type PackedModel } from './packed-model.ts';

export interface PackProgress {
  /** Packed bytes finished, those of an earlier, interrupted run included. */
  doneBytes: number;
  totalBytes: number;
  /** Of this run; 0 until the first shard is done. */
  bytesPerSecond: number;
  /** Seconds left at that rate; Infinity while there is none. */
  etaS: number;
}

export interface PackOptions {
  /** A Hugging Face model directory. */
  modelDir: string;
  outDir: string;
  quant: Quant;
  /** Name in the manifest; the directory's own by default. */
  modelId?: string;
  onProgress?: (progress: PackProgress) => void;
  /** Aborting leaves what is finished for the next run; the promise rejects with WeightsError `aborted`. */
  signal?: AbortSignal;
  /** Bytes that may still be written on the disk of a folder; statfs by default. */
  freeBytes?: (dir: string) => Promise<number>;
}

/** The manifest, the journal and the lock, above the shards themselves. */
const SPARE_BYTES = 4 * 1024 * 1024;

/**
 * Pack every routed expert of a checkpoint, one at a time, into `outDir/shards/<sha256>`; the manifest comes last, so a
 * folder with one is whole. Runs again after a kill: what was finished is checked by hash and kept. A folder already packed
 * from the same checkpoint in the same format is returned as it is; anything else in it is replaced.
 * Throws WeightsError (`disk-full`, `busy`, `aborted`, `bad-weight`, `bad-model`) or the checkpoint's own error.
 */
export async function packModel(options: PackOptions): Promise<Manifest> {
  const { modelDir, outDir } = options;
  const fingerprint = await sourceFingerprint(modelDir);
  const current = await openIfCurrent(outDir, fingerprint, options.quant);
  if (current) return current.manifest;
  await mkdir(join(outDir, SHARD_DIR), { recursive: true });
  const lock = await lockFolder(outDir);
  try {
    const checkpoint = await openCheckpoint(modelDir);
    try {
      return await packInto(options, checkpoint, fingerprint, lock);
    } finally {
      await checkpoint.close();
    }
  } finally {
    await lock.release();
  }
}

export interface EnsurePackedOptions extends Omit<PackOptions, 'outDir'> {
  /** Holds one folder per model and quant, `<modelId>-<quant>`. */
  cacheDir: string;
}

/** The packed model in `cacheDir`, packing it first where it is absent, incomplete or made from another checkpoint. */
export async function ensurePacked(options: EnsurePackedOptions): Promise<PackedModel> {
  const modelId = options.modelId ?? basename(resolve(options.modelDir));
  const outDir = join(options.cacheDir, `${modelId.replace(/[^\w.-]/g, '_')}-${options.quant}`);
  await packModel({ ...options, modelId, outDir });
  return openPacked(outDir);
}

async function openIfCurrent(dir: string, fingerprint: string, quant: Quant): Promise<PackedModel | undefined> {
  try {
    const packed = await openPacked(dir);
    const { sourceFingerprint, packerVersion, shape } = packed.manifest;
    const current = sourceFingerprint === fingerprint && packerVersion === PACKER_VERSION && shape.quant === quant;
    return current ? packed : undefined;
  } catch (error) {
    if (error instanceof WeightsError) return undefined;
    throw error;
  }
}

async function packInto(
  options: PackOptions,
  checkpoint: Checkpoint,
  fingerprint: string,
  lock: PackLock,
): Promise<Manifest> {
  const { outDir, quant } = options;
  const shape = shapeOf(checkpoint.config, quant);
  const jobs = jobsOf(checkpoint.config, options.modelDir);
  // From here on the folder is not whole, and must not look so.
  await rm(join(outDir, MANIFEST_FILE), { force: true });
  const job = JSON.stringify({ fingerprint, shape, format: FORMAT_VERSION, packer: PACKER_VERSION });
  const journal = await openJournal(outDir, job);
  try {
    const hashes = await keptShards(outDir, shape, journal, options.signal);
    await refuseSmallDisk(options, (jobs.length - hashes.size) * shardBytes(shape));
    await packMissing(options, { checkpoint, shape, jobs, hashes, journal, lock });
    const manifest = manifestOf(options, checkpoint.config, shape, fingerprint, hashes);
    await writeWhole(join(outDir, MANIFEST_FILE), `${JSON.stringify(manifest)}\n`);
    await sweep(outDir, new Set(hashes.values()));
    return manifest;
  } finally {
    await journal.close();
  }
}

interface ExpertJob {
  layer: number;
  expert: number;
}

const keyOf = ({ layer, expert }: ExpertJob): string => `${layer}/${expert}`;

function shapeOf(config: ModelConfig, quant: Quant): ExpertShape {
  return { hiddenSize: config.hiddenSize, moeIntermediateSize: config.moeIntermediateSize, quant };
}

function jobsOf(config: ModelConfig, modelDir: string): ExpertJob[] {
  const jobs = moeLayers(config).flatMap((layer) =>
    Array.from({ length: config.nRoutedExperts }, (_, expert) => ({ layer, expert })),
  );
  if (jobs.length === 0) throw new WeightsError('bad-model', `${modelDir} has no layers with routed experts`);
  return jobs;
}

/** The journal's shards that are on the disk and match their hash, by layer/expert. */
async function keptShards(
  outDir: string,
  shape: ExpertShape,
  journal: Journal,
  signal: AbortSignal | undefined,
): Promise<Map<string, string>> {
  const expectedBytes = shardBytes(shape);
  const kept = new Map<string, string>();
  for (const entry of journal.finished) {
    throwIfAborted(signal, outDir);
    if (await fileMatches(join(outDir, SHARD_DIR, entry.sha256), expectedBytes, entry.sha256)) {
      kept.set(keyOf(entry), entry.sha256);
    }
  }
  return kept;
}

async function refuseSmallDisk(options: PackOptions, missingBytes: number): Promise<void> {
  const neededBytes = missingBytes === 0 ? 0 : missingBytes + SPARE_BYTES;
  const freeBytes = await (options.freeBytes ?? freeBytesOf)(options.outDir);
  if (freeBytes >= neededBytes) return;
  throw new WeightsError(
    'disk-full',
    `${options.outDir} needs ${neededBytes} more bytes and its disk has ${freeBytes} free; ` +
      'free some space, choose another folder, or pack as q8 or q4',
  );
}

interface PackState {
  checkpoint: Checkpoint;
  shape: ExpertShape;
  jobs: readonly ExpertJob[];
  /** By layer/expert; grows. */
  hashes: Map<string, string>;
  journal: Journal;
  lock: PackLock;
}

async function packMissing(options: PackOptions, state: PackState): Promise<void> {
  const { jobs, hashes, shape, journal, lock } = state;
  const bytesPerShard = shardBytes(shape);
  const keptBytes = hashes.size * bytesPerShard;
  const totalBytes = jobs.length * bytesPerShard;
  const written = new Set(hashes.values());
  const startedMs = performance.now();
  const report = (doneBytes: number): void => {
    const elapsedS = (performance.now() - startedMs) / 1000;
    const bytesPerSecond = doneBytes > keptBytes ? (doneBytes - keptBytes) / elapsedS : 0;
    const leftBytes = totalBytes - doneBytes;
    const etaS = leftBytes === 0 ? 0 : leftBytes / bytesPerSecond;
    options.onProgress?.({ doneBytes, totalBytes, bytesPerSecond, etaS });
  };
  report(keptBytes);
  for (const job of jobs) {
    if (hashes.has(keyOf(job))) continue;
    throwIfAborted(options.signal, options.outDir);
    const bytes = await packOne(state.checkpoint, shape, job);
    const hash = sha256(bytes);
    if (!written.has(hash)) await writeWhole(join(options.outDir, SHARD_DIR, hash), bytes);
    written.add(hash);
    await journal.append({ ...job, sha256: hash });
    await lock.touch();
    hashes.set(keyOf(job), hash);
    report(hashes.size * bytesPerShard);
  }
}

async function packOne(checkpoint: Checkpoint, shape: ExpertShape, { layer, expert }: ExpertJob): Promise<Uint8Array> {
  const { hiddenSize: D, moeIntermediateSize: F } = shape;
  const names = expertTensorNames(checkpoint.config, layer, expert);
  const gate = await checkpoint.read(names.gate, [F, D]);
  const up = await checkpoint.read(names.up, [F, D]);
  const down = await checkpoint.read(names.down, [D, F]);
  try {
    return packExpert(shape, { gate, up, down });
  } catch (cause) {
    if (!(cause instanceof WeightsError)) throw cause;
    const where = `${checkpoint.dir}: layer ${layer}, expert ${expert}`;
    throw new WeightsError(cause.reason, `${where}: ${cause.message}`, { cause });
  }
}

function manifestOf(
  options: PackOptions,
  config: ModelConfig,
  shape: ExpertShape,
  sourceFingerprint: string,
  hashes: ReadonlyMap<string, string>,
): Manifest {
  const layers = moeLayers(config);
  const experts = Array.from({ length: config.nRoutedExperts }, (_, expert) => expert);
  const body = {
    formatVersion: FORMAT_VERSION,
    packerVersion: PACKER_VERSION,
    modelId: options.modelId ?? basename(resolve(options.modelDir)),
    shape,
    shardBytes: shardBytes(shape),
    moeLayers: layers,
    expertsPerLayer: config.nRoutedExperts,
    shards: Object.fromEntries(
      layers.map((layer) => [`${layer}`, experts.map((expert) => hashes.get(keyOf({ layer, expert }))!)]),
    ),
    sourceFingerprint,
  } satisfies Omit<Manifest, 'modelDigest'>;
  return manifestSchema.parse({ ...body, modelDigest: sha256(digestText(body)) });
}

/** Remove the journal, what killed packers left, and shards of an earlier checkpoint. */
async function sweep(outDir: string, keep: ReadonlySet<string>): Promise<void> {
  await rm(join(outDir, JOURNAL_FILE), { force: true });
  for (const name of await readdir(join(outDir, SHARD_DIR))) {
    if (!keep.has(name)) await rm(join(outDir, SHARD_DIR, name), { force: true });
  }
}

function throwIfAborted(signal: AbortSignal | undefined, outDir: string): void {
  if (signal?.aborted) {
    throw new WeightsError('aborted', `packing into ${outDir} was interrupted; run again to go on where it stopped`);
  }
}
