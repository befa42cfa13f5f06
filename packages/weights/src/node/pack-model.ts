import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expertLayers, messageOf, type ModelConfig } from '@shoal/model';
import { chooseFormats, type Formats, type WantedFormats } from '../choose-formats.ts';
import { DENSE_FORMATS } from '../dense/panels.ts';
import { WeightsError, type WeightsErrorReason } from '../errors.ts';
import { expertShape, QUANTS, shardBytes } from '../layout.ts';
import { FORMAT_VERSION, formatVersionOf, PACKER_VERSION, type Manifest } from '../manifest.ts';
import {
  asWriteError,
  DENSE_PART_FILE,
  freeBytesOf,
  makeFolder,
  MANIFEST_FILE,
  refuseOutput,
  removeRemains,
  SHARD_DIR,
  sha256,
  writeWhole,
} from './files.ts';
import { STAGE_DIR } from './hub/stage.ts';
import { sumOf } from './jobs.ts';
import { JOURNAL_FILE, openJournal, type JournalEntry } from './journal.ts';
import { lockFolder, type PackLock } from './lock.ts';
import { isCopied, writeModelFiles } from './model-files.ts';
import { openPool, threadsFor } from './pack-pool.ts';
import {
  closeDensePart,
  expertKey,
  finishedJobs,
  openDensePart,
  type PackSchedule,
  type PackProgress,
  progressMeter,
  schedulePack,
  runJobs,
  SPARE_BYTES,
} from './pack-run.ts';
import { readManifest, sealManifest } from './packed-manifest.ts';
import { type Damage, openPacked, type OpenPackedOptions, type PackedModel } from './packed-model.ts';
import type { ModelSource, PackInput } from './source/model-source.ts';
import { sourceOf, type SourceOrDir } from './source/open-source.ts';
import { sumByKind } from './squared-error.ts';

export type PackOptions = PackSettings & SourceOrDir;
type Packing = PackSettings & Formats & { source: ModelSource };

export interface PackSettings extends WantedFormats {
  outDir: string;
  /** Name in the manifest; the source's by default. */
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

/** Of the digest in the name of a folder in the cache: 64 bits. */
const DIGEST_CHARS = 16;
/** From finding another packer at work until it is looked at again. */
const BUSY_RETRY_MS = 500;

/**
 * Packs a checkpoint into a self-contained folder: every routed expert in `shards/<sha256>`, the dense engine's weights in one
 * file, config and tokenizer beside them. The manifest is written last, so a folder with one is complete. A run that was killed
 * can be repeated: finished parts are checked by hash and kept. A folder packed from the same checkpoint in the same formats is
 * checked, and what is damaged in it is packed again; any other contents are replaced.
 * Throws WeightsError (`disk-full`, `unwritable`, `busy`, `aborted`, `bad-weight`, `bad-model`, `bad-output`) or the checkpoint's
 * error.
 */
export async function packModel(options: PackOptions): Promise<Manifest> {
  const source = sourceOf(options);
  const fingerprint = await source.fingerprint();
  await refuseOutput(source.dir, options.outDir);
  const packing = { ...options, ...chooseFormats(await source.config(), options), source };
  return (await checkCurrent(packing, fingerprint)) ?? packAnew(packing, fingerprint);
}

async function packAnew(options: Packing, fingerprint: string): Promise<Manifest> {
  const { source, outDir } = options;
  await makeFolder(join(outDir, SHARD_DIR));
  const lock = await lockFolder(outDir);
  try {
    // Before the free room is looked at: on a small disk they would be in the way.
    for (const dir of [outDir, join(outDir, SHARD_DIR)]) await writing(outDir, removeRemains(dir));
    const input = await source.openForPacking(outDir);
    try {
      input.checkpoint.check();
      return await packInto(options, input, { fingerprint, lock });
    } finally {
      await input.close();
    }
  } finally {
    await lock.release();
  }
}

export type EnsurePackedOptions = EnsurePackedSettings & SourceOrDir;

interface EnsurePackedSettings extends Omit<PackSettings, 'outDir' | 'measure'>, Pick<OpenPackedOptions, 'onDamage'> {
  /** Parent of the packed models' folders. */
  cacheDir: string;
  /** Called with a sentence about what takes long or room: another packer's work that is waited for, older packed models. */
  onNotice?: (text: string) => void;
  /** Called with the model's config before anything else is asked or done; its error ends it. */
  checkConfig?: (config: ModelConfig) => void;
  /** Called before a model is packed, when nothing large has been fetched for it; its error ends the packing. */
  beforePacking?: (source: ModelSource) => Promise<void>;
}

/**
 * Opens the packed model in `cacheDir`, after packing it if it is absent or incomplete. Each content of a checkpoint has a folder
 * of its own, `<modelId>-<quant>-<denseQuant>-<digest>`: a coordinator may be serving from any other. Where another process is
 * packing the same one, waits for it.
 */
export async function ensurePacked(options: EnsurePackedOptions): Promise<PackedModel> {
  const { cacheDir, onDamage, onNotice = () => {} } = options;
  const source = sourceOf(options);
  const { modelId = source.modelId } = options;
  const fingerprint = await source.fingerprint();
  const config = await source.config();
  options.checkConfig?.(config);
  const formats = chooseFormats(config, options);
  const name = cacheName(formats, modelId, fingerprint);
  const packing: Packing = { ...options, ...formats, source, modelId, outDir: join(cacheDir, name) };
  const { outDir } = packing;
  await refuseOutput(source.dir, outDir);
  for (let waits = 0; ; waits++) {
    const opened = await openMended(packing, fingerprint, { onDamage, onNotice });
    if (opened) return opened;
    const others = await otherFolders(cacheDir, name, modelId);
    if (waits === 0 && others !== undefined) onNotice(others);
    try {
      await options.beforePacking?.(source);
      await packAnew(packing, fingerprint);
      return await openPacked(outDir, { checkpoint: source.spec, onDamage });
    } catch (error) {
      if (isReason(error, 'disk-full') && others !== undefined) {
        throw new WeightsError('disk-full', `${messageOf(error)}. ${others}`, { cause: error });
      }
      if (!isReason(error, 'busy') || options.signal?.aborted) throw error;
      if (waits === 0) onNotice(`${messageOf(error).split(';')[0]}, and this one waits for it`);
      // Not for ever: the lock of a packer that does nothing becomes stale.
      await delay(BUSY_RETRY_MS);
    }
  }
}

/** Names the folders of the cache that hold the model in other formats, or as it was before, and their sizes. */
async function otherFolders(cacheDir: string, name: string, modelId: string): Promise<string | undefined> {
  const present = await readdir(cacheDir).catch((): string[] => []);
  const others = present.filter((other) => other !== name && isOfModel(other, modelId));
  if (others.length === 0) return undefined;
  const sized = others.map(async (other) => {
    const bytes = await readManifest(join(cacheDir, other)).then(packedBytes, () => undefined);
    return bytes === undefined ? other : `${other} (${(bytes / 1e9).toFixed(3)} GB)`;
  });
  return `${cacheDir} also holds ${(await Promise.all(sized)).join(', ')}: delete those that no coordinator serves from`;
}

function packedBytes({ shards, shardBytes, dense }: Manifest): number {
  return new Set(Object.values(shards).flat()).size * shardBytes + dense.bytes;
}

/**
 * `openCurrent`, with damage reported only of a folder that is used. Of another one the remains are told by a notice, since they
 * are packed anew, unless the checkpoint gives other bytes now: then it throws WeightsError `changed`, because another
 * coordinator may be serving from them.
 */
async function openMended(
  packing: Packing,
  fingerprint: string,
  { onDamage = () => {}, onNotice }: Pick<EnsurePackedOptions, 'onDamage'> & { onNotice: (text: string) => void },
): Promise<PackedModel | undefined> {
  const { source, outDir } = packing;
  let found: Damage[] | undefined = [];
  const opened = await openCurrent(packing, fingerprint, {
    onDamage: (damage) => (found ? found.push(damage) : onDamage(damage)),
    onLost: (error) => {
      if (isReason(error.cause, 'changed')) {
        const why = `${source.spec} no longer holds what was packed, though its files have kept their sizes and times`;
        const remedy = `delete ${outDir} if no coordinator serves from it, or touch the files of the checkpoint`;
        throw new WeightsError('changed', `${outDir} is damaged, and ${why}; ${remedy}`, { cause: error });
      }
      onNotice(`${messageOf(error).split('; mend it with:')[0]}. So the model is packed anew.`);
    },
  });
  const before = found;
  found = undefined;
  if (opened) before.forEach(onDamage);
  return opened;
}

/** Names the checkpoint's content, the formats, and the versions that decide about the bytes. */
/** Where `ensurePacked` keeps the packed model by its own name, whether it is there or not. Reads no weights. */
export async function packedFolder(source: ModelSource, formats: Formats, cacheDir: string): Promise<string> {
  return join(cacheDir, cacheName(formats, source.modelId, await source.fingerprint()));
}

function cacheName({ quant, denseQuant }: Formats, modelId: string, fingerprint: string) {
  const digest = sha256(JSON.stringify([modelId, fingerprint, FORMAT_VERSION, PACKER_VERSION])).slice(0, DIGEST_CHARS);
  return `${nameStem(modelId)}-${quant}-${denseQuant}-${digest}`;
}

/** Whether a folder of the cache holds the same model in some format, packed by this version or an earlier one. */
function isOfModel(folder: string, modelId: string): boolean {
  const stem = nameStem(modelId);
  const pattern = new RegExp(`^-(${QUANTS.join('|')})-(${DENSE_FORMATS.join('|')})(-[0-9a-f]{16})?$`);
  return folder.startsWith(stem) && pattern.test(folder.slice(stem.length));
}

const nameStem = (modelId: string): string => modelId.replace(/[^\w.-]/g, '_');

/** The manifest of a folder that was packed from this checkpoint in these formats, after everything in it was checked. */
async function checkCurrent(options: Packing, fingerprint: string): Promise<Manifest | undefined> {
  const { onProgress, signal } = options;
  const packed = await openCurrent(options, fingerprint);
  if (!packed) return undefined;
  let meter: ((bytes: number) => void) | undefined;
  let checkedBytes = 0;
  try {
    await packed.verify(({ doneBytes, totalBytes }) => {
      meter ??= progressMeter(totalBytes, 0, onProgress);
      meter(doneBytes - checkedBytes);
      checkedBytes = doneBytes;
    }, signal);
    return packed.manifest;
  } catch (error) {
    if (isReason(error, 'corrupt')) return undefined;
    throw error;
  }
}

/**
 * Opens a folder that was packed from this checkpoint in these formats; undefined where there is none, or none to mend. `onLost` is
 * told what could not be mended.
 */
async function openCurrent(
  options: Packing,
  fingerprint: string,
  { onDamage, onLost = () => {} }: Pick<OpenPackedOptions, 'onDamage'> & { onLost?: (error: Error) => void } = {},
): Promise<PackedModel | undefined> {
  const { source, outDir, quant, denseQuant, measure } = options;
  try {
    const { sourceFingerprint, packerVersion, shape, dense, nmse } = await readManifest(outDir);
    const isCurrent =
      sourceFingerprint === fingerprint &&
      packerVersion === PACKER_VERSION &&
      shape.quant === quant &&
      dense.format === denseQuant &&
      (nmse !== undefined || !measure);
    return isCurrent ? await openPacked(outDir, { checkpoint: source.spec, onDamage }) : undefined;
  } catch (error) {
    if (isReason(error, 'corrupt')) onLost(error as Error);
    if (isReason(error, 'corrupt', 'not-packed', 'bad-manifest')) return undefined;
    throw error;
  }
}

function isReason(error: unknown, ...reasons: WeightsErrorReason[]): boolean {
  return error instanceof WeightsError && reasons.includes(error.reason);
}

async function packInto(
  options: Packing,
  { checkpoint, place, schedule: scheduleInput }: PackInput,
  { fingerprint, lock }: { fingerprint: string; lock: PackLock },
): Promise<Manifest> {
  const { outDir, source, quant, denseQuant: dense, measure = false, signal } = options;
  const { config } = checkpoint;
  const shape = expertShape(config, quant);
  const schedule = schedulePack(checkpoint, shape, dense);
  // From here on the folder is incomplete.
  await writing(outDir, rm(join(outDir, MANIFEST_FILE), { force: true }));
  const versions = { format: formatVersionOf(shape), packer: PACKER_VERSION };
  const journal = await openJournal(outDir, JSON.stringify({ fingerprint, shape, dense, ...versions }));
  try {
    await openDensePart(outDir, schedule, journal.finished.length > 0);
    const finished = await finishedJobs(schedule, { outDir, journal, measured: measure, signal });
    const left = schedule.jobs.filter(({ key }) => !finished.has(key));
    const input = await scheduleInput(left);
    await refuseSmallDisk(options, sumOf(left, 'packedBytes'), input.roomBytes);
    const threads = options.threads ?? threadsFor(shape, sumOf(left, 'sourceBytes'));
    const pool = openPool({ place, outDir, shape, dense, measure, denseFile: DENSE_PART_FILE }, checkpoint, threads);
    try {
      const freeBytes = () => freeBytesIn(options);
      await runJobs(schedule, finished, {
        outDir,
        input,
        pool,
        freeBytes,
        journal,
        signal,
        onProgress: options.onProgress,
      });
    } finally {
      await pool.close();
    }
    await lock.check();
    await closeDensePart(outDir);
    const files = await writeModelFiles(await source.files(), outDir);
    const manifest = manifestOf(options, config, { schedule, fingerprint, files, finished });
    await writeWhole(join(outDir, MANIFEST_FILE), `${JSON.stringify(manifest)}\n`);
    await writing(outDir, sweep(outDir, manifest));
    return manifest;
  } finally {
    await journal.close();
  }
}

async function writing(path: string, work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    throw asWriteError(error, path);
  }
}

function freeBytesIn({ freeBytes = freeBytesOf, outDir }: Packing): Promise<number> {
  return freeBytes(outDir);
}

async function refuseSmallDisk(options: Packing, missingBytes: number, roomBytes: number): Promise<void> {
  const neededBytes = missingBytes + roomBytes + SPARE_BYTES;
  const freeBytes = await freeBytesIn(options);
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

function manifestOf(options: Packing, config: ModelConfig, packed: Packed): Manifest {
  const { schedule, fingerprint, files, finished } = packed;
  const hashOf = (key: string): string => finished.get(key)!.sha256;
  const layers = expertLayers(config);
  const experts = Array.from({ length: config.nRoutedExperts }, (_, expert) => expert);
  const dense = schedule.layout.segments.flatMap(({ entries }) => entries);
  const sums = sumByKind([...finished.values()].flatMap(({ errors }) => errors ?? []));
  return sealManifest({
    formatVersion: formatVersionOf(schedule.shape),
    packerVersion: PACKER_VERSION,
    modelId: options.modelId ?? options.source.modelId,
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
  });
}

/** Removes the journal, what was fetched, and files of an earlier checkpoint. */
async function sweep(outDir: string, manifest: Manifest): Promise<void> {
  await rm(join(outDir, JOURNAL_FILE), { force: true });
  await rm(join(outDir, STAGE_DIR), { recursive: true, force: true });
  const keep = new Set(Object.values(manifest.shards).flat());
  for (const name of await readdir(join(outDir, SHARD_DIR))) {
    if (!keep.has(name)) await rm(join(outDir, SHARD_DIR, name), { force: true });
  }
  const files = new Set(manifest.files.map(({ name }) => name));
  for (const name of await readdir(outDir)) {
    if (isCopied(name) && !files.has(name)) await rm(join(outDir, name));
  }
}
