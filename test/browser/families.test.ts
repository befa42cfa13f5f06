import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EXPERT_ACTIVATIONS, meanEmbedding } from '@shoal/model';
import { loadTokenizer } from '@shoal/model/node';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openEncoderModel, storyEncoders } from '../golden/encoders.ts';
import { type FamilyReference, fixtureDir } from '../golden/families.ts';
import { nmse } from '../golden/tiny-stories.ts';
import { answer } from '../integration/answers.ts';
import { MIN_MARGIN } from '../integration/golden.ts';
import { until } from '../integration/virtual-donor.ts';
import { accessFaults } from './access-faults.ts';
import { type ExpertKind, greedyReference, setExpertKind, writeModelOfKind } from './expert-kinds.ts';
import { expectTabsServed, Network } from './network.ts';

const seq2seqDir = (name: string): string => join(import.meta.dirname, '../golden/fixtures/seq2seq', name);

// Small random checkpoints, served as downloaded: packed, their experts in two real tabs, one on WebGPU and one on WebAssembly, their
// own attention and gate in the coordinator.

let folder: string;
let network: Network | undefined;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-families-'));
});
afterEach(async () => {
  setExpertKind(undefined);
  await network?.stop();
  network = undefined;
});
afterAll(() => rm(folder, { recursive: true }));

// One model for each way in which tensors are stored; what attention and gates differ in stays in the coordinator, where test/golden
// and test/integration look at it. The ids are the reference implementation's (test/golden/make/families).
const FAMILIES = [
  { name: 'deepseek-v3-fp8', quant: 'f16', activation: 'swiglu' },
  { name: 'gpt-oss-mxfp4', quant: 'mxfp4', activation: 'clamped-swiglu' },
] as const;

const ADAPTERS = join(import.meta.dirname, '../golden/fixtures/adapters/qwen3-moe');

/** Kinds of experts that no served family has. */
const OTHER_KINDS: readonly ExpertKind[] = [
  { activation: 'geglu', bias: true },
  { activation: 'relu2', bias: false },
];

/** Encoder–decoders, whose experts have no biases and which have some, and what their answers begin with. */
const SEQ2SEQ = [
  { name: 'switch', bias: false, begun: 1 },
  { name: 'nllb-moe', bias: true, begun: 2 },
];
const SEQ2SEQ_KIND = { activation: 'relu' } as const;

/** Of the encoder's experts. */
const ENCODER = { activation: 'gelu' } as const;

const { greedy: prompts } = referenceOf('qwen3-moe');

function referenceOf(name: string): FamilyReference {
  return JSON.parse(readFileSync(join(fixtureDir(name), 'reference.json'), 'utf8')) as FamilyReference;
}

describe('greedy ids are the reference’s where a tab on WebGPU and one on WebAssembly hold the experts', () => {
  it.each(FAMILIES)('of $name in $quant', async ({ name, quant }) => {
    const { greedy } = referenceOf(name);
    // Both hold the one layer that has experts, and laps go to one; then to the other.
    network = await Network.start({ modelDir: fixtureDir(name), replicas: 2, quant });
    const [gpu, cpu] = await network.join(2, 'gpu', 'cpu');
    await expectAnswers(network, greedy);
    const [first] = peersOf(network).sort((a, b) => b.rows - a.rows);
    await network.crash(first!.device === 'gpu' ? gpu! : cpu!);
    await network.settle(1);
    const [before] = peersOf(network);
    expect(before!.device).not.toBe(first!.device);
    await expectAnswers(network, greedy);
    expect(peersOf(network)[0]!.rows).toBeGreaterThan(before!.rows);
  });

  it.each(OTHER_KINDS)('of the kind $activation (biases: $bias)', async (kind) => {
    const modelDir = join(folder, kind.activation);
    setExpertKind(kind);
    await writeModelOfKind(modelDir, kind);
    const greedy = [];
    for (const { prompt_ids, ids: otherIds } of prompts) {
      const { ids, leads } = await greedyReference(modelDir, prompt_ids, otherIds.length);
      expect(ids).not.toEqual(otherIds);
      // A close choice may be another one in f16, and then the text goes on otherwise.
      const unsure = leads.findIndex((lead) => lead < MIN_MARGIN);
      greedy.push({ prompt_ids, ids: unsure < 0 ? ids : ids.slice(0, unsure) });
    }
    expect(greedy.reduce((sum, { ids }) => sum + ids.length, 0)).toBeGreaterThan(20);
    // Each holds one of two layers.
    network = await Network.start({ modelDir, replicas: 1, quant: 'f16', cacheDir: folder, adapterRoot: ADAPTERS });
    expect(network.coordinator.packed.manifest.shape).toMatchObject({
      activation: kind.activation,
      ...(kind.bias && { bias: true }),
    });
    await network.join(2, 'gpu', 'cpu');
    await expectAnswers(network, greedy);
    const peers = peersOf(network).filter(({ rows }) => rows > 0);
    expect(peers.map(({ device }) => device).sort()).toEqual(['cpu', 'gpu']);
    if (kind.activation === 'geglu') await expectAdapted(network, greedy[0]!.prompt_ids);
  });

  it.each(SEQ2SEQ)('of the encoder–decoder $name', async ({ name, bias, begun }) => {
    const modelDir = seq2seqDir(name);
    const { greedy } = JSON.parse(readFileSync(join(modelDir, 'reference.json'), 'utf8')) as {
      greedy: { source: number[]; ids: number[] }[];
    };
    // Each holds a part of the layers.
    network = await Network.start({ modelDir, replicas: 1, quant: 'f16' });
    expect(network.coordinator.packed.manifest.shape).toMatchObject({ ...SEQ2SEQ_KIND, ...(bias && { bias }) });
    await network.join(2, 'gpu', 'cpu');
    for (const { source, ids } of greedy) {
      const prompt = [...source, ...ids.slice(0, begun)];
      const answered = { sourceLength: source.length, maxTokens: ids.length - begun, ignoreEos: true };
      expect((await answer(network.coordinator, prompt, answered)).ids).toEqual(ids.slice(begun));
    }
    expectTabsServed(network.coordinator);
    const peers = peersOf(network).filter(({ rows }) => rows > 0);
    expect(peers.map(({ device }) => device).sort()).toEqual(['cpu', 'gpu']);
  });

  it('and embeddings are, of an encoder whose experts get slots; the playground compares them', async () => {
    const dir = storyEncoders.find((name) => name.endsWith('soft'))!;
    const expected = await referenceEmbeddings(dir);
    network = await Network.start({ modelDir: dir, replicas: 1, quant: 'f16' });
    await network.join(2, 'gpu', 'cpu');
    const { encoder } = network.coordinator;
    // One after the other, since untried tabs may not be far ahead of their audits.
    for (const { ids, embedding } of expected) {
      const request = { inputs: [ids], dimensions: embedding.length, signal: new AbortController().signal };
      const [served] = await encoder!.embed({ id: 'text', ...request });
      expect(nmse(served!, embedding)).toBeLessThanOrEqual(1e-5);
    }
    expectTabsServed(network.coordinator);
    expect(
      peersOf(network)
        .filter(({ rows }) => rows > 0)
        .map(({ device }) => device)
        .sort(),
    ).toEqual(['cpu', 'gpu']);
    await expectPlayground(network, expected);
  });

  it('for every kind that there is', () => {
    const tested = [...FAMILIES, ...OTHER_KINDS, SEQ2SEQ_KIND, ENCODER].map(({ activation }) => activation);
    expect(tested.sort()).toEqual([...EXPERT_ACTIVATIONS].sort());
  });
});

const TEXTS = [
  'Mia found a small bird in the snow and carried it home in her scarf.',
  'The bird got well by the warm stove, and Mia let it fly.',
];

/** By the reference engine. */
async function referenceEmbeddings(dir: string): Promise<{ ids: number[]; embedding: Float32Array }[]> {
  const { checkpoint, config, engine, experts } = await openEncoderModel(dir);
  const tokenizer = await loadTokenizer(dir);
  const all = TEXTS.map(async (text) => {
    const ids = tokenizer.encodeWhole(text);
    const { hidden } = await engine.encode!([ids], experts);
    return { ids, embedding: meanEmbedding(hidden, config.hiddenSize, { firstRow: 0, numRows: ids.length }) };
  });
  return Promise.all(all).finally(() => checkpoint.close());
}

/** The playground shows the cosines of two texts, and what is wrong with a single one. */
async function expectPlayground(
  { coordinator, browser }: Network,
  expected: readonly { ids: readonly number[]; embedding: Float32Array }[],
): Promise<void> {
  const context = await browser.browser.newContext({ viewport: { width: 360, height: 900 } });
  try {
    const page = await context.newPage();
    await page.goto(`${coordinator.url}/playground`);
    await page.getByLabel('Text 3').fill('');
    await page.getByLabel('Text 2').fill('');
    await page.getByRole('button', { name: 'Compare' }).click();
    await page.getByText('Enter at least two texts.').waitFor();
    for (const [i, text] of TEXTS.entries()) await page.getByLabel(`Text ${i + 1}`).fill(text);
    await page.getByRole('button', { name: 'Compare' }).click();
    const tokens = expected.reduce((sum, { ids }) => sum + ids.length, 0);
    await page.getByText(`${tokens} tokens in all, 128 values of each text`).waitFor();
    const [a, b] = expected.map(({ embedding }) => embedding);
    const cosine = a!.reduce((sum, value, at) => sum + value * b![at]!, 0);
    const shown = await page.locator('tbody td.numeric').allTextContents();
    expect(Number(shown[1])).toBeCloseTo(cosine, 2);
    expect([shown[0], shown[2], shown[3], shown[5]]).toEqual(['1.000', 'Text 2', shown[1], 'Text 1']);
    expect(await accessFaults(page)).toEqual([]);
  } finally {
    await context.close();
  }
}

type Greedy = readonly { prompt_ids: readonly number[]; ids: readonly number[] }[];

async function expectAnswers({ coordinator }: Network, greedy: Greedy): Promise<void> {
  for (const { prompt_ids: prompt, ids } of greedy) {
    const said = await answer(coordinator, prompt, { maxTokens: ids.length });
    expect(said.ids).toEqual(ids);
  }
  expectTabsServed(coordinator);
}

/** Both tabs fetch what an adapter adds to their experts, are right about it, and then compute what the coordinator did before. */
async function expectAdapted({ coordinator }: Network, prompt: readonly number[]): Promise<void> {
  const { adapters, dispatcher, swarm } = coordinator;
  const adapter = await adapters.load('experts', join(ADAPTERS, 'experts'));
  const ask = () => answer(coordinator, prompt, { maxTokens: 6, ignoreEos: true, adapter });
  const { ids } = await ask();
  expect(dispatcher.figures.fallbackAdapted).toBeGreaterThan(0);
  const isSettled = () => swarm.peers.every((peer) => peer.adapters!.isSettled);
  await until('tabs to hold the adapter', isSettled, 60_000);
  const before = dispatcher.figures.tabAdapted;
  expect((await ask()).ids).toEqual(ids);
  expect(dispatcher.figures.tabAdapted).toBeGreaterThan(before);
  expect(swarm.peers.map((peer) => peer.adapters!.bytes > 0)).toEqual([true, true]);
  adapters.unload('experts');
  await until('tabs to drop it', () => swarm.adapters!.bytes === 0);
}

/** The peers by device, with the rows that they have answered. */
const peersOf = ({ coordinator }: Network) =>
  coordinator.swarm.peers.map(({ hello, laps }) => {
    return { device: hello.adapter.vendor === 'cpu' ? 'cpu' : 'gpu', rows: laps.rows };
  });
