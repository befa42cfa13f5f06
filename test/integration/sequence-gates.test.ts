import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { gateWidth, meanEmbedding } from '@shoal/model';
import { loadTokenizer } from '@shoal/model/node';
import type { LabFacts, LabStudy } from '@shoal/protocol';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Coordinator, defaultConfig, startCoordinator } from '../../coordinator/src/index.ts';
import { openEncoderModel, storyEncoders } from '../golden/encoders.ts';
import { nmse } from '../golden/tiny-stories.ts';
import { covered, until, VirtualDonor } from './virtual-donor.ts';

const TEXTS = [
  'Mia found a small bird in the snow and carried it home in her scarf.',
  'The bird got well by the warm stove, and Mia let it fly.',
  'Tom and his robot Beep won the race around the pond.',
  'a',
];

describe.each(storyEncoders.map((dir) => [basename(dir), dir]))('%s, served by peers', (model, dir) => {
  let coordinator: Coordinator;
  let client: OpenAI;
  let cacheDir: string;
  let donors: VirtualDonor[] = [];
  /** Of each text, by the reference engine. */
  let expected: Float32Array[];
  let tokens: number;
  /** Rows that experts get of each text: its tokens, or its slots. */
  let slots: number | undefined;
  beforeAll(async () => {
    cacheDir = await mkdtemp(join(tmpdir(), 'shoal-sequence-gates-'));
    coordinator = await startCoordinator(
      defaultConfig({ model: dir, cacheDir, replicas: 1, port: 0, logLevel: 'silent' }),
    );
    client = new OpenAI({ baseURL: `${coordinator.url}/v1`, apiKey: 'none', maxRetries: 0 });
    donors = await Promise.all([VirtualDonor.join(coordinator), VirtualDonor.join(coordinator)]);
    const { checkpoint, config, engine, experts } = await openEncoderModel(dir);
    const tokenizer = await loadTokenizer(dir);
    const sequences = TEXTS.map((text) => tokenizer.encodeWhole(text));
    tokens = sequences.reduce((sum, { length }) => sum + length, 0);
    slots = gateWidth(config) > config.nRoutedExperts ? gateWidth(config) : undefined;
    expected = [];
    for (const ids of sequences) {
      const { hidden } = await engine.encode!([ids], experts);
      expected.push(meanEmbedding(hidden, config.hiddenSize, { firstRow: 0, numRows: ids.length }));
    }
    await checkpoint.close();
    await until('all experts to be served', () => covered(coordinator));
  });
  afterAll(async () => {
    await coordinator.close();
    await Promise.all(donors.map((donor) => donor.close()));
    await rm(cacheDir, { recursive: true });
  });

  const errors = (data: readonly { embedding: number[] }[]) =>
    data.map(({ embedding }, i) => nmse(Float32Array.from(embedding), expected[i]!));

  it('embeds as the reference engine does (NMSE ≤ 1e-5), with every expert in a tab', async () => {
    const data = [];
    // One after the other, since untried tabs may not be far ahead of their audits.
    for (const input of TEXTS) {
      const answer = await client.embeddings.create({ model, input });
      data.push(answer.data[0]!);
    }
    expect(Math.max(...errors(data))).toBeLessThanOrEqual(1e-5);
    const { fallbackAssignments, tabAssignments } = coordinator.dispatcher.figures;
    expect(fallbackAssignments).toBe(0);
    // In both layers: each slot has one expert, and each expert chooses 2 · n / 16 tokens, but at least one.
    const chosen = (n: number) => 16 * Math.max(1, Math.floor(n / 8));
    const ofText = async (text: string) => slots ?? chosen((await loadTokenizer(dir)).encodeWhole(text).length);
    const counts = await Promise.all(TEXTS.map(ofText));
    expect(tabAssignments).toBe(2 * counts.reduce((a, b) => a + b));
  });

  it('does not mix the texts of a batch', async () => {
    const { data, usage } = await client.embeddings.create({ model, input: TEXTS });
    expect(Math.max(...errors(data))).toBeLessThanOrEqual(1e-5);
    expect(usage.total_tokens).toBe(tokens);
  });

  it('tells the playground how long embeddings are', async () => {
    const served = await (await fetch(`${coordinator.url}/v1/models`)).json();
    expect(served).toMatchObject({ data: [{ id: model, shoal: { dimensions: 128 } }] });
  });

  it('shows its own gate in the lab, and others in its place where they can read its scores', async () => {
    const facts = (await (await fetch(`${coordinator.url}/v1/gates`)).json()) as LabFacts;
    const study = async (gate: string) => {
      const headers = { 'content-type': 'application/json' };
      const body = JSON.stringify({ text: TEXTS[0], gate });
      return fetch(`${coordinator.url}/v1/gates`, { method: 'POST', headers, body });
    };
    const { layers, nll, isOwn, title } = (await (await study('own')).json()) as LabStudy;
    expect([layers.map(({ layer }) => layer), nll, isOwn, title]).toEqual([[1, 3], null, true, facts.own.title]);
    const other = await study('top-k');
    if (slots === undefined) {
      expect(facts.own.settings).toEqual({ capacityFactor: 2 });
      expect(layers[0]!.figures.expertsPerToken[0]).toBeLessThan(layers[0]!.figures.expertsPerToken[2]);
      expect(((await other.json()) as LabStudy).layers[0]!.figures.expertsPerToken).toEqual([2, 2, 2]);
    } else {
      expect(facts.own.settings).toEqual({ slotsPerExpert: 3 });
      expect(layers[0]!.dispatch!.length).toBe(layers[0]!.combine!.length);
      expect([other.status, await other.text()]).toEqual([400, expect.stringContaining('scores slots')]);
    }
  });
});
