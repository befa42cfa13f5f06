import { mkdtemp, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Manifest } from '../manifest.ts';
import { writeSmallModel } from '../testing/small-model.ts';
import { openPackedModel } from './open-model.ts';
import { packModel } from './pack-model.ts';
import { readManifest } from './packed-manifest.ts';
import { type Damage, openPacked, type PackedModel } from './packed-model.ts';

let folder: string;
let modelDir: string;
let out: string;
let manifest: Manifest;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-damage-'));
  modelDir = join(folder, 'model');
  out = join(folder, 'out');
  await writeSmallModel(modelDir);
  await writeFile(join(modelDir, 'tokenizer.json'), '{"a": "file that is copied"}');
  manifest = await packModel({ modelDir, outDir: out, quant: 'q8', denseQuant: 'q8' });
});
afterEach(() => rm(folder, { recursive: true }));

const shardFile = (): string => join(out, 'shards', manifest.shards[1]![2]!);

async function flip(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[at < 0 ? bytes.length + at : at]! ^= 4;
  await writeFile(path, bytes);
}

/** Reads everything, as a coordinator does: the dense weights to start, shards later. */
async function readAll(packed: PackedModel): Promise<void> {
  const opened = await openPackedModel(packed);
  try {
    for (const entry of opened.dense!.layout.segments.flatMap(({ entries }) => entries)) {
      await opened.dense!.read(entry, new Uint8Array(entry.bytes));
    }
    for (let expert = 0; expert < 4; expert++) await packed.readShard(1, expert);
  } finally {
    await opened.close();
  }
}

const DAMAGES: [string, string, () => Promise<void>][] = [
  ['a flipped bit in a shard', 'shards', () => flip(shardFile(), 100)],
  ['a shard that is cut', 'shards', () => truncate(shardFile(), 100)],
  ['a shard that is missing', 'shards', () => rm(shardFile())],
  ['a flipped bit among the dense weights', 'dense.shoal', () => flip(join(out, 'dense.shoal'), -100)],
  ['a flipped bit in their header', 'dense.shoal', () => flip(join(out, 'dense.shoal'), 40)],
  ['dense weights that are cut', 'dense.shoal', () => truncate(join(out, 'dense.shoal'), 3000)],
  ['dense weights that are missing', 'dense.shoal', () => rm(join(out, 'dense.shoal'))],
  ['a flipped bit in the tokenizer', 'tokenizer.json', () => flip(join(out, 'tokenizer.json'), 10)],
  ['a config that is missing', 'config.json', () => rm(join(out, 'config.json'))],
];

describe('damage on disk', () => {
  it.each(DAMAGES)('%s is mended from the checkpoint, bit for bit, and reported once', async (_, name, damage) => {
    const path = name === 'shards' ? shardFile() : join(out, name);
    const before = await readFile(path);
    await damage();
    const found: Damage[] = [];
    await readAll(await openPacked(out, { checkpoint: modelDir, onDamage: (one) => found.push(one) }));
    expect(found).toEqual([{ path, mended: true, text: expect.stringContaining(`again from ${modelDir}`) as string }]);
    expect(await readFile(path)).toEqual(before);
    await (await openPacked(out)).verify();
  });

  it.each(DAMAGES)('%s is refused without a checkpoint, with the command that mends it', async (_, name, damage) => {
    await damage();
    const path = name === 'shards' ? shardFile() : join(out, name);
    const corrupt = {
      reason: 'corrupt',
      message: expect.stringMatching(
        new RegExp(
          `^${path} .*; mend it with: shoal pack --model CHECKPOINT --out ${out} --quant q8 --dense-quant q8$`,
        ),
      ) as string,
    };
    await expect(openPacked(out).then(readAll)).rejects.toMatchObject(corrupt);
    await expect(openPacked(out).then((packed) => packed.verify())).rejects.toMatchObject(corrupt);
    expect(await packModel({ modelDir, outDir: out, quant: 'q8', denseQuant: 'q8' })).toEqual(manifest);
    await (await openPacked(out)).verify();
  });

  it('is found in a shard that was whole when it was read before', async () => {
    const packed = await openPacked(out);
    const before = await packed.readShard(1, 2);
    await flip(shardFile(), 7);
    await expect(packed.readShard(1, 2)).rejects.toMatchObject({ reason: 'corrupt' });
    await flip(shardFile(), 7);
    expect(await packed.readShard(1, 2)).toEqual(before);
  });

  it('is not mended from a checkpoint that has changed, which replaces nothing', async () => {
    await writeSmallModel(modelDir, 2);
    await flip(shardFile(), 100);
    const damaged = await readFile(shardFile());
    const found: Damage[] = [];
    const packed = await openPacked(out, { checkpoint: modelDir, onDamage: (one) => found.push(one) });
    for (let time = 0; time < 2; time++) {
      await expect(packed.readShard(1, 2)).rejects.toMatchObject({
        reason: 'corrupt',
        message: expect.stringMatching(/now holds another layer 1, expert 2 than was packed/) as string,
      });
    }
    expect(found).toMatchObject([{ path: shardFile(), mended: false }]);
    expect(await readFile(shardFile())).toEqual(damaged);
    for (const expert of [0, 1, 3]) await packed.readShard(1, expert);
  });

  it('that could not be mended is mended by a later check, once the checkpoint is back, and not by each request', async () => {
    await flip(shardFile(), 100);
    const found: Damage[] = [];
    const packed = await openPacked(out, { checkpoint: modelDir, onDamage: (one) => found.push(one) });
    await rename(modelDir, `${modelDir}-away`);
    const hash = manifest.shards[1]![2]!;
    for (let time = 0; time < 2; time++)
      await expect(packed.checkShard(hash)).rejects.toMatchObject({ reason: 'corrupt' });
    await rename(`${modelDir}-away`, modelDir);
    await expect(packed.readShard(1, 2)).rejects.toMatchObject({ reason: 'corrupt' });
    await packed.checkShard(hash);
    expect(found.map(({ path, mended }) => [path, mended])).toEqual([
      [shardFile(), false],
      [shardFile(), true],
    ]);
    await packed.verify();
    // And again, when it is damaged once more.
    await flip(shardFile(), 100);
    await packed.readShard(1, 2);
    expect(found).toHaveLength(3);
  });

  it('in the manifest is found, wherever it is', async () => {
    const path = join(out, 'manifest.json');
    const good = await readFile(path);
    for (let at = 0; at < good.length; at += 7) {
      const bytes = Buffer.from(good);
      bytes[at]! ^= 1 << (at % 8);
      await writeFile(path, bytes);
      const read = await readManifest(out).catch((error: unknown) => error);
      if (!(read instanceof Error)) {
        // The name of the digest's own key, or a space that JSON ignores: nothing that the digest is of.
        const { manifestDigest: _, ...rest } = manifest;
        expect({ at, ...(read as Manifest), manifestDigest: '' }).toEqual({ at, ...rest, manifestDigest: '' });
      } else expect(read).toMatchObject({ name: 'WeightsError' });
    }
  });
});
