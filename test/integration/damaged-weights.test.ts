import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packModel } from '@shoal/weights/node';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Config, type Coordinator } from '../../coordinator/src/index.ts';
import { answer } from './answers.ts';
import { GOLDEN, TINY_STORIES } from './golden.ts';
import { startTinyCoordinator } from './tiny-coordinator.ts';
import { covered, until, VirtualDonor } from './virtual-donor.ts';

const golden = GOLDEN[3]!;
const expected = golden.greedy_ids.slice(0, 16);

let folder: string;
let whole: string;
/** A packed model of its own for each test, which does not know its checkpoint. */
let packedDir: string;
let coordinator: Coordinator | undefined;
let donors: VirtualDonor[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-damaged-'));
  whole = join(folder, 'whole');
  await packModel({ modelDir: TINY_STORIES, outDir: whole, quant: 'f16' });
});
afterAll(() => rm(folder, { recursive: true }));

beforeEach(async () => {
  packedDir = await mkdtemp(join(folder, 'packed-'));
  await cp(whole, packedDir, { recursive: true });
});
afterEach(async () => {
  await coordinator?.close();
  await Promise.all(donors.splice(0).map((donor) => donor.close()));
  coordinator = undefined;
});

async function start(options: Partial<Config>): Promise<Coordinator> {
  // Two experts in memory: what is asked for is read again.
  return (coordinator = await startTinyCoordinator({ replicas: 1, expertMemoryBytes: 150_000, ...options }));
}

async function spoil(path: string, at: number, count = 1): Promise<void> {
  const bytes = await readFile(path);
  for (let i = 0; i < count; i++) bytes[at + 997 * i]! ^= 0x55;
  await writeFile(path, bytes);
}

async function shardsOf(dir: string, layer: number): Promise<string[]> {
  const { shards } = JSON.parse(await readFile(join(dir, 'manifest.json'), 'utf8')) as {
    shards: Record<string, string[]>;
  };
  return shards[layer]!.map((hash) => join(dir, 'shards', hash));
}

const errors = (): string[] =>
  coordinator!.events.all().flatMap(({ level, text }) => (level === 'error' ? [text] : []));
const warnings = (): string[] =>
  coordinator!.events.all().flatMap(({ level, text }) => (level === 'warning' ? [text] : []));

async function ask(): Promise<{ status: number; text: string | undefined }> {
  const response = await fetch(`${coordinator!.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'tiny-stories', prompt: golden.prompt, max_tokens: 16, temperature: 0 }),
  });
  const body = (await response.json()) as { choices?: { text: string }[] };
  return { status: response.status, text: body.choices?.[0]?.text };
}

async function ready() {
  const response = await fetch(`${coordinator!.url}/readyz`);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

describe('damaged weights, with the checkpoint there,', () => {
  it('are packed again at the start and while requests need them, and answers are the right ones', async () => {
    const cacheDir = join(folder, 'cache');
    const { dir } = (await start({ cacheDir })).packed;
    await coordinator!.close();
    await spoil(join(dir, 'dense.shoal'), 400_000, 200);
    await spoil(join(dir, 'tokenizer.json'), 1000);
    for (const path of await shardsOf(dir, 1)) await spoil(path, 1000);
    await start({ cacheDir });
    expect((await answer(coordinator!, golden.prompt_ids, { maxTokens: 16 })).ids).toEqual(expected);
    // Rot while it serves.
    for (const path of await shardsOf(dir, 2)) await spoil(path, 2000);
    expect((await answer(coordinator!, golden.prompt_ids, { maxTokens: 16 })).ids).toEqual(expected);
    expect(await ready()).toMatchObject({ status: 200, body: { ready: true, shards: 192 } });
    expect(errors()).toEqual([]);
    expect(warnings()).toContainEqual(expect.stringMatching(/dense\.shoal has other bytes for .* packed again from/));
    expect(warnings()).toContainEqual(
      expect.stringMatching(/tokenizer\.json is not what was packed.* packed again from/),
    );
    expect(warnings()).toContainEqual(expect.stringMatching(/shards\/\w{64} does not have .* packed again from/));
  });

  it('are packed again when a tab reports them, which gets it then', async () => {
    const { dir } = (await start({ cacheDir: join(folder, 'cache') })).packed;
    await until('the shards to be checked', () => coordinator!.health.progress.checked === 192);
    const [path] = await shardsOf(dir, 3);
    const before = await readFile(path!);
    await spoil(path!, 1000);
    const first = await VirtualDonor.join(coordinator!);
    donors.push(first);
    await until('the tab to be sent away', () => first.dismissed !== undefined);
    expect(first.dismissed).toMatchObject({ retry: true });
    await until('the shard to be mended', () => coordinator!.health.mended === 1);
    expect(await readFile(path!)).toEqual(before);
    expect((await fetch(`${coordinator!.url}/shards/${path!.split('/').at(-1)}`)).status).toBe(200);
  });
});

describe('damaged weights, without a checkpoint,', () => {
  const open = (): Promise<Coordinator> => start({ model: packedDir, quant: undefined });

  it.each([
    ['dense.shoal', 400_000],
    ['tokenizer.json', 1000],
    ['config.json', 30],
    ['manifest.json', 1000],
  ])('are refused at the start, with file and remedy: %s', async (name, at) => {
    await spoil(join(packedDir, name), at, name === 'dense.shoal' ? 200 : 1);
    await expect(open()).rejects.toMatchObject({
      name: 'WeightsError',
      message: expect.stringMatching(
        new RegExp(`^${join(packedDir, name)} .*(shoal pack --model|pack the model again)`),
      ),
    });
  });

  it('make a coordinator not ready, which says so without a word of its disk, and gives nothing wrong out', async () => {
    await open();
    const right = await ask();
    expect(right.status).toBe(200);
    const paths = await shardsOf(packedDir, 1);
    for (const path of paths) await spoil(path, 1000);
    // An expert that is in memory still serves; one that is read is refused.
    const outcomes = [await ask(), await ask(), await ask()];
    for (const outcome of outcomes) expect([right, { status: 500, text: undefined }]).toContainEqual(outcome);
    expect(outcomes.map(({ status }) => status)).toContain(500);
    const { status, body } = await ready();
    expect(status).toBe(503);
    expect(body).toMatchObject({
      ready: false,
      reason: expect.stringMatching(/^\d+ files? of the packed model damaged/),
    });
    expect(JSON.stringify(body)).not.toContain(packedDir);
    const hash = /shards\/(\w{64}) does not have the SHA-256.*mend it with: shoal pack --model/.exec(errors()[0]!)![1]!;
    const shard = await fetch(`${coordinator!.url}/shards/${hash}`);
    expect([shard.status, shard.headers.get('retry-after')]).toEqual([503, '60']);
  });
});

it.each([
  ['a changed checkpoint', 'a/checkpoint-1000'],
  ['another model in a folder of the same name', 'b/checkpoint-1000'],
])('two coordinators share a cache: %s is packed beside the one that is served', async (_, other) => {
  const cacheDir = await mkdtemp(join(folder, 'shared-'));
  const modelDir = join(folder, 'a/checkpoint-1000');
  await cp(TINY_STORIES, modelDir, { recursive: true });
  await start({ cacheDir, model: modelDir });
  const otherDir = join(folder, other);
  await cp(TINY_STORIES, otherDir, { recursive: true });
  const path = join(otherDir, 'model.safetensors');
  const bytes = await readFile(path);
  // The lowest bit of some weights.
  for (let at = 400_000; at < bytes.length; at += 1000) bytes[at]! ^= 1;
  await writeFile(path, bytes);
  const second = await startTinyCoordinator({ cacheDir, model: otherDir });
  try {
    expect(second.packed.manifest.modelDigest).not.toBe(coordinator!.packed.manifest.modelDigest);
    const donor = await VirtualDonor.join(coordinator!);
    donors.push(donor);
    await until('all experts to be served', () => covered(coordinator!));
    expect((await answer(coordinator!, golden.prompt_ids, { maxTokens: 16 })).ids).toEqual(expected);
    await coordinator!.packed.verify();
    await second.packed.verify();
    for (const { url } of [coordinator!, second]) expect((await fetch(`${url}/readyz`)).status).toBe(200);
  } finally {
    await second.close();
  }
});
