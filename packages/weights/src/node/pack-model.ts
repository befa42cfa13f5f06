import { mkdir, readdir, rm } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { checkTensors, expertLayers, type ModelConfig, moeLayers } from '@shoal/model';
import { openCheckpoint, type Checkpoint } from '@shoal/model/node';
import type { DenseFormat } from '../dense/panels.ts';
import { WeightsError } from '../errors.ts';
import { type Quant, shardBytes } from '../layout.ts';
import { digestText, FORMAT_VERSION, manifestSchema, PACKER_VERSION, type Manifest } from '../manifest.ts';
import {
  freeBytesOf,
  lockFolder,
  MANIFEST_FILE,
  refuseOutput,
  SHARD_DIR,
  sha256,
  TEMP_PREFIX,
  writeWhole,
} from './files.ts';
import { sourceFingerprint } from './fingerprint.ts';
import { JOURNAL_FILE, openJournal, type JournalEntry } from './journal.ts';
import { copyModelFiles, isCopied } from './model-files.ts';
import { openPool, threadsFor } from './pack-pool.ts';
import {
  closeDensePart,
  expertKey,
  finishedJobs,
  openDensePart,
  type PackSchedule,
  type PackProgress,
  schedulePack,
  runJobs,
  sumOf,
} from './pack-run.ts';
import { openPacked, type PackedModel } from './packed-model.ts';
import { sumByKind } from './squared-error.ts';

export interface PackOptions {
  /** A Hugging Face model directory. */
  modelDir: string;
  outDir: string;
  /** Format of the experts. */
  quant: Quant;
  /** Format of the dense engine's weights; f16 by default. */
  denseQuant?: DenseFormat;
  /** Name in the manifest; the directory's name by default. */
  modelId?: string;
  /** Whether to measure the error of packing for the manifest's `nmse`, which takes about half as long again. */
  measure?: boolean;
  onProgress?: (progress: PackProgress) => void;
  /** Aborting keeps finished jobs for the next run. The promise rejects with WeightsError `aborted`. */
  signal?: AbortSignal;
  /** Threads that pack, 0 for the calling thread; see `threadsFor` for the default. */
  threads?: number;
  /** Free bytes on the disk of a folder; statfs by default. */
  freeBytes?: (dir: string) => Promise<number>;
}

/** Room for the manifest, the journal, the tokenizer and the lock. */
const SPARE_BYTES = 64 * 1024 * 1024;
const DEFAULT_DENSE: DenseFormat = 'f16';

/**
 * Packs a checkpoint into a self-contained folder: every routed expert in `shards/<sha256>`, the dense engine's weights in one
 * file, config and tokenizer beside them. The manifest is written last, so a folder with one is complete. A run that was killed
 * can be repeated: finished parts are checked by hash and kept. A folder packed from the same checkpoint in the same formats is
 * left as it is; any other contents are replaced.
 * Throws WeightsError (`disk-full`, `busy`, `aborted`, `bad-weight`, `bad-model`, `bad-output`) or the checkpoint's error.
 */
export async function packModel(options: PackOptions): Promise<Manifest> {
  const { modelDir, outDir } = options;
  const fingerprint = await sourceFingerprint(modelDir);
  await refuseOutput(modelDir, outDir);
  const current = await openIfCurrent(options, fingerprint);
  if (current) return current.manifest;
  await mkdir(join(outDir, SHARD_DIR), { recursive: true });
  const lock = await lockFolder(outDir);
  try {
    const checkpoint = await openCheckpoint(modelDir);
    try {
      checkTensors(checkpoint.config, checkpoint);
      return await packInto(options, checkpoint, fingerprint);
    } finally {
      await checkpoint.close();
    }
  } finally {
    await lock.release();
  }
}

export interface EnsurePackedOptions extends Omit<PackOptions, 'outDir'> {
  /** Parent of the packed models' folders, `<modelId>-<quant>-<denseQuant>`. */
  cacheDir: string;
}

/** Opens the packed model in `cacheDir`, after packing it if it is absent, incomplete or made from another checkpoint. */
export async function ensurePacked(options: EnsurePackedOptions): Promise<PackedModel> {
  const modelId = options.modelId ?? basename(resolve(options.modelDir));
  const formats = `${options.quant}-${options.denseQuant ?? DEFAULT_DENSE}`;
  const outDir = join(options.cacheDir, `${modelId.replace(/[^\w.-]/g, '_')}-${formats}`);
  await packModel({ ...options, modelId, outDir });
  return openPacked(outDir);
}

async function openIfCurrent(options: PackOptions, fingerprint: string): Promise<PackedModel | undefined> {
  try {
    const packed = await openPacked(options.outDir);
    const { sourceFingerprint, packerVersion, shape, dense, nmse } = packed.manifest;
    const current =
      sourceFingerprint === fingerprint &&
      packerVersion === PACKER_VERSION &&
      shape.quant === options.quant &&
      dense.format === (options.denseQuant ?? DEFAULT_DENSE) &&
      (nmse !== undefined || !options.measure);
    return current ? packed : undefined;
  } catch (error) {
    if (error instanceof WeightsError) return undefined;
    throw error;
  }
}

async function packInto(options: PackOptions, checkpoint: Checkpoint, fingerprint: string): Promise<Manifest> {
  const { outDir, modelDir, quant, denseQuant: dense = DEFAULT_DENSE, measure = false, signal } = options;
  const { config } = checkpoint;
  if (moeLayers(config).length === 0) {
    throw new WeightsError('bad-model', `${modelDir} has no layers with routed experts`);
  }
  const shape = { hiddenSize: config.hiddenSize, moeIntermediateSize: config.moeIntermediateSize, quant };
  const schedule = schedulePack(checkpoint, shape, dense);
  // From here on the folder is incomplete.
  await rm(join(outDir, MANIFEST_FILE), { force: true });
  const versions = { format: FORMAT_VERSION, packer: PACKER_VERSION };
  const journal = await openJournal(outDir, JSON.stringify({ fingerprint, shape, dense, ...versions }));
  try {
    await openDensePart(outDir, schedule, journal.finished.length > 0);
    const finished = await finishedJobs(schedule, { outDir, journal, measured: measure, signal });
    const left = schedule.jobs.filter(({ key }) => !finished.has(key));
    await refuseSmallDisk(options, sumOf(left, 'packedBytes'));
    const threads = options.threads ?? threadsFor(shape, sumOf(left, 'sourceBytes'));
    const pool = openPool({ modelDir, outDir, shape, dense, measure }, checkpoint, threads);
    try {
      await runJobs(schedule, finished, { outDir, pool, journal, signal, onProgress: options.onProgress });
    } finally {
      await pool.close();
    }
    await closeDensePart(outDir);
    const files = await copyModelFiles(modelDir, outDir);
    const manifest = manifestOf(options, config, { schedule, fingerprint, files, finished });
    await writeWhole(join(outDir, MANIFEST_FILE), `${JSON.stringify(manifest)}\n`);
    await sweep(outDir, manifest);
    return manifest;
  } finally {
    await journal.close();
  }
}

async function refuseSmallDisk(options: PackOptions, missingBytes: number): Promise<void> {
  const neededBytes = missingBytes + SPARE_BYTES;
  const freeBytes = await (options.freeBytes ?? freeBytesOf)(options.outDir);
  if (freeBytes >= neededBytes) return;
  throw new WeightsError(
    'disk-full',
    `${options.outDir} needs ${neededBytes} more bytes and its disk has ${freeBytes} free; ` +
      'free some space, choose another folder, or pack with fewer bits (q8, q4)',
  );
}

interface Packed {
  schedule: PackSchedule;
  fingerprint: string;
  files: Manifest['files'];
  finished: ReadonlyMap<string, JournalEntry>;
}

function manifestOf(options: PackOptions, config: ModelConfig, packed: Packed): Manifest {
  const { schedule, fingerprint, files, finished } = packed;
  const hashOf = (key: string): string => finished.get(key)!.sha256;
  const layers = expertLayers(config);
  const experts = Array.from({ length: config.nRoutedExperts }, (_, expert) => expert);
  const dense = schedule.layout.segments.flatMap(({ entries }) => entries);
  const sums = sumByKind([...finished.values()].flatMap(({ errors }) => errors ?? []));
  const body = {
    formatVersion: FORMAT_VERSION,
    packerVersion: PACKER_VERSION,
    modelId: options.modelId ?? basename(resolve(options.modelDir)),
    shape: schedule.shape,
    shardBytes: shardBytes(schedule.shape),
    expertLayers: layers,
    expertsPerLayer: config.nRoutedExperts,
    shards: Object.fromEntries(
      layers.map((layer) => [`${layer}`, experts.map((expert) => hashOf(expertKey(layer, expert)))]),
    ),
    dense: {
      format: schedule.layout.format,
      bytes: schedule.layout.totalBytes,
      entries: Object.fromEntries(dense.map(({ name }) => [name, hashOf(`dense/${name}`)])),
    },
    numNextnPredictLayers: config.numNextnPredictLayers,
    files,
    ...(options.measure && {
      nmse: Object.fromEntries(sums.map(({ kind, error, norm }) => [kind, norm === 0 ? 0 : error / norm])),
    }),
    sourceFingerprint: fingerprint,
  } satisfies Omit<Manifest, 'modelDigest'>;
  return manifestSchema.parse({ ...body, modelDigest: sha256(digestText(body)) });
}

/** Removes the journal, the remains of killed packers, and files of an earlier checkpoint. */
async function sweep(outDir: string, manifest: Manifest): Promise<void> {
  await rm(join(outDir, JOURNAL_FILE), { force: true });
  const keep = new Set(Object.values(manifest.shards).flat());
  for (const name of await readdir(join(outDir, SHARD_DIR))) {
    if (!keep.has(name)) await rm(join(outDir, SHARD_DIR, name), { force: true });
  }
  const files = new Set(manifest.files.map(({ name }) => name));
  for (const name of await readdir(outDir)) {
    if (name.startsWith(TEMP_PREFIX) || (isCopied(name) && !files.has(name))) await rm(join(outDir, name));
  }
}
