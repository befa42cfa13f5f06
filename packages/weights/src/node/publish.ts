import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { constants, copyFile, link, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { WeightsError } from '../errors.ts';
import { sha256Schema } from '../manifest.ts';
import { asWriteError, fileMatches, makeFolder, removeRemains, SHARD_DIR, TEMP_PREFIX, writeWhole } from './files.ts';
import type { PackedModel } from './packed-model.ts';

export const INDEX_FILE = 'index.json';
const HEADERS_FILE = '_headers';
const MODEL_DIR = 'models';

/** Files read, checked and placed at a time. */
const STREAMS = 4;

/** `index.json`: what a folder of published shards holds. Tabs don't read it: their coordinator names the shards. */
const indexSchema = z.object({
  version: z.literal(1),
  models: z.array(
    z.object({
      modelId: z.string(),
      modelDigest: sha256Schema,
      quant: z.string(),
      shards: z.number().int().min(0),
      shardBytes: z.number().int().min(0),
    }),
  ),
});
type Index = z.infer<typeof indexSchema>;

/**
 * What hosts that read such a file (Netlify, Cloudflare Pages) send with each shard. Others are configured by hand:
 * docs/OPERATIONS.md has examples.
 */
const HEADERS = `/${SHARD_DIR}/*
  Access-Control-Allow-Origin: *
  Cache-Control: public, max-age=31536000, immutable
  Content-Type: application/octet-stream
  X-Content-Type-Options: nosniff
`;

export interface PublishOptions {
  packed: PackedModel;
  dir: string;
  /** Reads again what is there, and replaces what is damaged. Without it, a file of the right size counts. */
  check?: boolean;
  signal?: AbortSignal;
  onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void;
}

export interface Published {
  /** Shards of the model. */
  shards: number;
  /** Of these, placed by this call: as hard links, or as copies where the folder is on another disk. */
  linked: number;
  copied: number;
  /** Of these, found damaged and replaced. */
  replaced: number;
}

/**
 * Lays out the shards of a packed model for a static host: `shards/SHA256`, each checked before it is placed. A folder may hold
 * several models. What is there already is kept, so a call after an interruption goes on.
 */
export async function publishShards(options: PublishOptions): Promise<Published> {
  const { packed, dir, signal } = options;
  const { manifest } = packed;
  const names = [...new Set(manifest.expertLayers.flatMap((layer) => manifest.shards[layer]!))];
  if (names.length === 0)
    throw new WeightsError('bad-output', `${manifest.modelId} is dense: it has no shards to publish`);
  const target = join(dir, SHARD_DIR);
  await makeFolder(target);
  await removeRemains(target);
  const present = new Set(await readdir(target));
  const published: Published = { shards: names.length, linked: 0, copied: 0, replaced: 0 };
  const totalBytes = names.length * manifest.shardBytes;
  let doneBytes = 0;
  const waiting = names.values();
  const place = async (): Promise<void> => {
    for (const name of waiting) {
      if (signal?.aborted) throw new WeightsError('aborted', `publishing to ${dir} was interrupted`);
      const how = await placeShard(options, name, present.has(name));
      if (how !== 'kept') published[how]++;
      if (how !== 'kept' && present.has(name)) published.replaced++;
      options.onProgress?.({ doneBytes: (doneBytes += manifest.shardBytes), totalBytes });
    }
  };
  await Promise.all(Array.from({ length: STREAMS }, place));
  await writeDocuments(options, names);
  return published;
}

async function placeShard(
  { packed, dir, check }: PublishOptions,
  name: string,
  isThere: boolean,
): Promise<'kept' | 'linked' | 'copied'> {
  const { shardBytes } = packed.manifest;
  const path = join(dir, SHARD_DIR, name);
  const isWhole = check
    ? () => fileMatches(path, shardBytes, name)
    : async () => (await stat(path)).size === shardBytes;
  if (isThere && (await isWhole())) return 'kept';
  // Mends it if it is damaged and can be mended.
  await packed.checkShard(name);
  const temp = join(dir, SHARD_DIR, `${TEMP_PREFIX}${process.pid}-${name}`);
  try {
    const how = await linkOrCopy(packed.shardPath(name)!, temp);
    await rename(temp, path);
    // Renaming one link of a file to another does nothing, and leaves it.
    await rm(temp, { force: true });
    return how;
  } catch (error) {
    await rm(temp, { force: true }).catch(() => {});
    throw asWriteError(error, path);
  }
}

/** Packed shards are never written again in place, so that a link stays what it was. */
async function linkOrCopy(from: string, to: string): Promise<'linked' | 'copied'> {
  try {
    await link(from, to);
    return 'linked';
  } catch {
    // Another disk, or a file system without links.
  }
  await copyFile(from, to, constants.COPYFILE_EXCL);
  const file = await open(to, 'r+');
  await file.sync().finally(() => file.close());
  return 'copied';
}

async function writeDocuments({ packed, dir }: PublishOptions, names: readonly string[]): Promise<void> {
  const { modelId, modelDigest, shape, shardBytes } = packed.manifest;
  const entry = { modelId, modelDigest, quant: shape.quant, shards: names.length, shardBytes };
  await makeFolder(join(dir, MODEL_DIR));
  const list = JSON.stringify({ ...entry, shards: names.toSorted() }, null, 1);
  await writeWhole(join(dir, MODEL_DIR, `${modelDigest}.json`), `${list}\n`);
  const others = (await readIndex(dir)).models.filter((other) => other.modelDigest !== modelDigest);
  const index: Index = { version: 1, models: [...others, entry] };
  await writeWhole(join(dir, HEADERS_FILE), HEADERS);
  // Last: what it names is complete.
  await writeWhole(join(dir, INDEX_FILE), `${JSON.stringify(index, null, 2)}\n`);
}

async function readIndex(dir: string): Promise<Index> {
  const path = join(dir, INDEX_FILE);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { version: 1, models: [] };
    throw error;
  }
  try {
    return indexSchema.parse(JSON.parse(text));
  } catch (error) {
    const message = `${path} is not an index of published shards; choose another folder, or remove the file`;
    throw new WeightsError('bad-output', message, { cause: error });
  }
}

export interface CheckResult {
  shards: number;
  bytes: number;
  /** Files that are not what their names say. */
  damaged: string[];
  /** Shards that a model needs and that are not there. */
  missing: string[];
}

/** Reads every shard of a published folder, without the packed model. Throws WeightsError `bad-output` where nothing was published. */
export async function checkPublished(
  dir: string,
  options: Pick<PublishOptions, 'signal' | 'onProgress'> = {},
): Promise<CheckResult> {
  const { models } = await readIndex(dir);
  if (models.length === 0) throw new WeightsError('bad-output', `nothing has been published to ${dir}`);
  const wanted = new Set<string>();
  for (const { modelDigest } of models) {
    const text = await readFile(join(dir, MODEL_DIR, `${modelDigest}.json`), 'utf8');
    for (const name of z.object({ shards: z.array(sha256Schema) }).parse(JSON.parse(text)).shards) wanted.add(name);
  }
  const present = new Set(await readdir(join(dir, SHARD_DIR)).catch(() => []));
  const result: CheckResult = { shards: 0, bytes: 0, damaged: [], missing: [] };
  const waiting = wanted.values();
  let done = 0;
  const check = async (): Promise<void> => {
    for (const name of waiting) {
      if (options.signal?.aborted) throw new WeightsError('aborted', `checking ${dir} was interrupted`);
      const found = present.has(name) ? await hashFile(join(dir, SHARD_DIR, name)) : undefined;
      if (found === undefined) result.missing.push(name);
      else if (found.hash !== name) result.damaged.push(name);
      else result.shards++;
      result.bytes += found?.bytes ?? 0;
      options.onProgress?.({ doneBytes: ++done, totalBytes: wanted.size });
    }
  };
  await Promise.all(Array.from({ length: STREAMS }, check));
  return result;
}

async function hashFile(path: string): Promise<{ hash: string; bytes: number }> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of createReadStream(path)) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).byteLength;
  }
  return { hash: hash.digest('hex'), bytes };
}
