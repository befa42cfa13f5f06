import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FORMAT_VERSION, type Manifest, shardBytes } from '@shoal/weights';
import { packModel } from '@shoal/weights/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT_DIR } from '../config.ts';
import { runPlan } from './plan.ts';
import type { ServingPlan } from './capacity.ts';

const V3 = join(ROOT_DIR, 'packages/model/src/testing/published-configs/DeepSeek-V3.json');
const TINY = join(ROOT_DIR, 'models/tiny-stories');
const ENOUGH = ['--model', V3, '--tab-memory', '1GiB', '--bandwidth', '10GB'];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-plan-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function run(...argv: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const out = { code: 0, stdout: '', stderr: '' };
  out.code = await runPlan(argv, {
    stdout: { write: (text) => (out.stdout += text) },
    stderr: { write: (text) => (out.stderr += text) },
  });
  return out;
}

async function plan(...argv: string[]): Promise<ServingPlan> {
  const { code, stdout, stderr } = await run(...argv, '--json');
  expect([code, stderr]).toEqual([0, '']);
  return JSON.parse(stdout) as ServingPlan;
}

describe('the arguments of shoal plan', () => {
  it.each<[string[], string]>([
    [[], '--model MODEL is missing'],
    [['--model', V3, '--tab-memory', '1'], '--tab-memory takes a size such as 512MiB or 4GiB, not "1"'],
    [[...ENOUGH, '--tab-memory', '0GiB'], '--tab-memory takes a size'],
    [[...ENOUGH, '--bandwidth', 'fast'], '--bandwidth takes a size'],
    [[...ENOUGH, '--quant', 'q2'], '--quant takes f16, q8, q4, mxfp4, auto, not "q2"'],
    [[...ENOUGH, '--dense-quant', 'q2'], '--dense-quant takes f32, f16, q8, q4, auto, not "q2"'],
    [[...ENOUGH, '--replicas', '0'], '--replicas takes a whole number from 1 on, not "0"'],
    [[...ENOUGH, '--replicas', '1.5'], '--replicas takes a whole number'],
    [[...ENOUGH, '--context', '-1'], '--context'],
    [[...ENOUGH, '--context', '4k'], '--context takes a whole number'],
    [[...ENOUGH, '--rtt', '20'], '--rtt takes a time such as 20ms or 0.1s, not "20"'],
    [[...ENOUGH, '--rtt', '0ms'], '--rtt takes a time'],
    [[...ENOUGH, '--nonsense'], '--nonsense'],
    [[...ENOUGH, 'stray'], 'stray'],
  ])('that are wrong are refused by name: %j', async (argv, message) => {
    const { code, stdout, stderr } = await run(...argv);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain(message);
    expect(stderr).toContain('See: shoal plan --help');
  });

  it('have units and defaults', async () => {
    const one = await plan(...ENOUGH);
    expect(one.ceilings.roundTrip).toBeCloseTo(1 / (58 * 0.02), 9);
    expect(one.coordinator.contextTokens).toBe(4096);
    const other = await plan(...ENOUGH, '--rtt', '0.1s', '--context', '100', '--replicas', '2', '--quant', 'q8');
    expect(other.ceilings.roundTrip).toBeCloseTo(1 / (58 * 0.1), 9);
    expect(other.coordinator.kvBytesAtContext).toBe(100 * 70_394);
    expect(other.tabs.count).toBeGreaterThan(3 * one.tabs.count);
    expect(other.expertBytes / one.expertBytes).toBeCloseTo(8.5 / 4.5, 3);
  });

  it('are explained by --help, whatever else is missing', async () => {
    const { code, stdout } = await run('--help');
    expect(code).toBe(0);
    for (const flag of ['--tab-memory', '--rtt', '--bandwidth', '--json']) expect(stdout).toContain(flag);
  });
});

describe('the model of shoal plan', () => {
  it('fails with the reason where there is none', async () => {
    const { code, stdout, stderr } = await run('--model', join(folder, 'none'), '--tab-memory', '1GiB');
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain(join(folder, 'none'));
  });

  it('may be a tab’s size too large for', async () => {
    expect(await run(...ENOUGH, '--tab-memory', '16MiB')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/must lend \d+ bytes/) as string,
    });
  });

  it('has its MTP module only where its index says so', async () => {
    const dir = join(folder, 'indexed');
    await mkdir(dir);
    await writeFile(join(dir, 'config.json'), await readFile(V3));
    const options = ['--model', dir, '--tab-memory', '1GiB', '--bandwidth', '10GB'];
    const index = (last: number): Promise<void> =>
      writeFile(
        join(dir, 'model.safetensors.index.json'),
        JSON.stringify({ weight_map: { [`model.layers.${last}.input_layernorm.weight`]: 'a.safetensors' } }),
      );
    await index(60);
    const without = await plan(...options);
    expect(without.mtpExperts).toBeUndefined();
    await index(61);
    const withIt = await plan(...options);
    expect(withIt.mtpExperts).toBe('tabs');
    expect(withIt.coordinator.parameters).toBeGreaterThan(without.coordinator.parameters);
    expect(withIt.tabs.count).toBeGreaterThan(without.tabs.count);
  });

  it('has its MTP module only where its one file holds it', async () => {
    const dir = join(ROOT_DIR, 'test/golden/fixtures/families/glm4-moe-qk-norm');
    expect(JSON.parse(await readFile(join(dir, 'config.json'), 'utf8'))).toMatchObject({ num_nextn_predict_layers: 1 });
    expect((await plan('--model', dir)).mtpExperts).toBeUndefined();
  });

  it('is told to have no tokenizer that can be read, before anything is fetched for it', async () => {
    const dir = join(folder, 'untold');
    await mkdir(dir);
    await writeFile(join(dir, 'config.json'), await readFile(V3));
    const { code, stdout } = await run('--model', dir);
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^Tokenizer +cannot be read.*tokenizer\.json/m)]);
    for (const name of ['tokenizer.json', 'tokenizer_config.json']) await copyFile(join(TINY, name), join(dir, name));
    expect((await run('--model', dir)).stdout).not.toContain('Tokenizer');
  });

  it('is no adapter, and no weights that are not read', async () => {
    const dir = join(folder, 'adapter');
    await mkdir(dir);
    await writeFile(join(dir, 'config.json'), await readFile(V3));
    await writeFile(join(dir, 'adapter_config.json'), '{}');
    expect(await run('--model', dir)).toMatchObject({ code: 1, stderr: expect.stringContaining('LoRA') as string });
  });

  it('has the formats, and the module, that it was packed with', async () => {
    const dir = join(folder, 'packed');
    await mkdir(join(dir, 'shards'), { recursive: true });
    await writeFile(join(dir, 'config.json'), await readFile(join(TINY, 'config.json')));
    const shape = { hiddenSize: 192, moeIntermediateSize: 64, quant: 'q8' } as const;
    const hash = 'a'.repeat(64);
    const manifest: Manifest = {
      formatVersion: FORMAT_VERSION,
      packerVersion: 1,
      modelId: 'tiny',
      shape,
      shardBytes: shardBytes(shape),
      expertLayers: [1],
      expertsPerLayer: 1,
      shards: { 1: [hash] },
      dense: { format: 'q4', bytes: 1, entries: {} },
      numNextnPredictLayers: 0,
      files: [],
      sourceFingerprint: hash,
      modelDigest: hash,
    };
    await writeFile(join(dir, 'manifest.json'), JSON.stringify(manifest));
    const options = ['--tab-memory', '16MiB', '--bandwidth', '10GB'];
    const packed = await plan('--model', dir, ...options);
    const source = await plan('--model', TINY, ...options, '--quant', 'q8', '--dense-quant', 'q4');
    expect(packed.expertBytes).toBe(source.expertBytes);
    // It was packed without the MTP module of its config.
    expect([packed.mtpExperts, source.mtpExperts]).toEqual([undefined, 'local']);
    expect(packed.coordinator.weightsBytes).toBeLessThan(source.coordinator.weightsBytes);
  });
});

describe('a head in shoal plan', () => {
  it('is counted with the coordinator’s memory, and refused where it does not fit', async () => {
    const model = (name: string): string[] => ['--model', join(ROOT_DIR, 'test/golden/fixtures/families', name)];
    const more = ['--tab-memory', '1MiB', '--bandwidth', '10GB', '--drafter'];
    const head = join(ROOT_DIR, 'test/golden/fixtures/heads/eagle3');
    const [none, one] = await Promise.all([
      plan(...model('qwen3-moe'), ...more.slice(0, -1)),
      plan(...model('qwen3-moe'), ...more, head),
    ]);
    // fc; queries, keys, values and output; the FFN; the output of 60 tokens; four norms.
    const parameters = 48 * 144 + 96 * (48 + 24 + 24) + 48 * 48 + 3 * 40 * 48 + 60 * 48 + 4 * 48;
    expect(one.head).toMatchObject({ kind: 'eagle3', parameters, kvBytesPerToken: 2 * 24 * 2 + 2 });
    expect(one.coordinator.memoryBytes - none.coordinator.memoryBytes).toBe(one.head!.memoryBytes);
    expect((await run(...model('qwen3-moe'), ...more, head)).stdout).toMatch(/^Head +EAGLE-3: [\d.]+ KiB of weights/m);
    expect((await run(...model('granitemoe'), ...more, head)).stderr).toMatch(/--drafter .*but the model's is/);
  });
});

describe('a draft model in shoal plan', () => {
  const FIXTURES = join(ROOT_DIR, 'test/golden/fixtures/families');
  const SERVED = ['--model', join(FIXTURES, 'granitemoe'), '--tab-memory', '1MiB', '--bandwidth', '10GB'];

  it('is counted with the coordinator’s memory, packed or not', async () => {
    const packed = join(folder, 'packed-llama');
    await packModel({ modelDir: join(FIXTURES, 'llama'), outDir: packed, quant: 'f16', denseQuant: 'q8' });
    const [none, one, other] = await Promise.all([
      plan(...SERVED),
      plan(...SERVED, '--draft-model', join(FIXTURES, 'llama')),
      plan(...SERVED, '--draft-model', packed),
    ]);
    const { weightsBytes, kvBytesAtContext, memoryBytes } = one.draftModel!;
    expect(memoryBytes).toBe(weightsBytes + kvBytesAtContext);
    expect(one.coordinator.memoryBytes - none.coordinator.memoryBytes).toBe(memoryBytes);
    expect([none.draftModel, other.draftModel]).toEqual([undefined, one.draftModel]);
    const smaller = await plan(...SERVED, '--draft-model', join(FIXTURES, 'llama'), '--draft-quant', 'q4');
    expect(smaller.draftModel!.weightsBytes).toBeLessThan(weightsBytes);
    expect((await run(...SERVED, '--draft-model', packed)).stdout).toMatch(
      /^Draft model +[\d.]+ KiB of weights as q8/m,
    );
  });

  it('has no experts and the same vocabulary, and the other has experts', async () => {
    const withExperts = await run(...SERVED, '--draft-model', join(FIXTURES, 'dots1'));
    expect(withExperts.stderr).toContain('has routed experts (dots1)');
    const larger = await run(...ENOUGH, '--draft-model', join(FIXTURES, 'llama'));
    expect([larger.code, larger.stderr]).toEqual([2, expect.stringContaining('a vocabulary of 48 tokens')]);
    const dense = await run('--model', join(FIXTURES, 'llama'));
    expect([dense.code, dense.stderr]).toEqual([2, expect.stringContaining('is a dense model (llama)')]);
  });
});

describe('what shoal plan prints', () => {
  it('is a line each for coordinator, tabs and speed, and what memory for own layers buys', async () => {
    const { stdout } = await run(...ENOUGH, '--rtt', '50ms');
    for (const line of [/^Coordinator +17\.6 GiB/m, /^Drafts .* on tabs/m, /^Tabs +420 that lend/m, /^Speed +at most/m])
      expect(stdout).toMatch(line);
    expect(stdout).toMatch(/^Local experts .* whole layers of 5\.9 GiB/m);
    expect(stdout).toMatch(
      /^ +16\.0 GiB +holds the MTP module's and 1 layer: 57 laps, 406 tabs, at most 0\.\d+ tokens/m,
    );
  });

  it('counts slots where experts get them in the place of tokens', async () => {
    const soft = ['--model', join(ROOT_DIR, 'models/stories-soft'), '--bandwidth', '10GB'];
    const { stdout } = await run(...soft);
    expect(stdout).toMatch(/^Experts +2 layers of 16, which get 48 slots of a text; /m);
    expect(stdout).toMatch(/^Each pass +2 laps; for each slot /m);
    expect(await plan(...soft)).toMatchObject({ slotsPerText: 48, expertsPerToken: 1 });
  });
});
