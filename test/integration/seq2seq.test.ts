import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Coordinator, defaultConfig, startCoordinator } from '../../coordinator/src/index.ts';
import { covered, until, VirtualDonor } from './virtual-donor.ts';

const fixtureDir = (name: string): string => join(import.meta.dirname, '../golden/fixtures/seq2seq', name);

interface Reference {
  sources: number[][];
  greedy: { source: number[]; ids: number[] }[];
  texts: { text: string; ids: number[] }[];
  translated?: { language: string; text: string; ids: number[] }[];
}

interface Choice {
  text: string;
  token_ids: number[];
  prompt_token_ids: number[];
  logprobs: { token_logprobs: number[] } | null;
}

let cacheDir: string;
let coordinator: Coordinator;
let donors: VirtualDonor[] = [];
let reference: Reference;

beforeAll(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'shoal-seq2seq-'));
});
afterAll(() => rm(cacheDir, { recursive: true }));

async function stop(): Promise<void> {
  await coordinator.close();
  await Promise.all(donors.map((donor) => donor.close()));
}

/** Serves a fixture to two tabs, both of which have all experts if there are two replicas. */
async function serve(name: string, replicas: 1 | 2): Promise<void> {
  reference = JSON.parse(readFileSync(join(fixtureDir(name), 'reference.json'), 'utf8')) as Reference;
  const options = { model: fixtureDir(name), cacheDir, replicas, port: 0, logLevel: 'silent' } as const;
  coordinator = await startCoordinator(defaultConfig({ ...options, quant: 'f16', denseQuant: 'f16' }));
  donors = await Promise.all([VirtualDonor.join(coordinator), VirtualDonor.join(coordinator)]);
  await until('all experts to be served', () => covered(coordinator));
}

async function complete(body: object): Promise<Choice[]> {
  const response = await fetch(`${coordinator.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ return_token_ids: true, ...body }),
  });
  const json = (await response.json()) as { choices: Choice[] };
  expect(response.status, JSON.stringify(json)).toBe(200);
  return json.choices;
}

/** Of each request its choices' tokens and their log-probabilities. */
const together = (bodies: readonly object[]) =>
  Promise.all(
    bodies.map(async (body) => (await complete(body)).map(({ token_ids: ids, logprobs }) => ({ ids, logprobs }))),
  );

async function alone(bodies: readonly object[]) {
  const all: Awaited<ReturnType<typeof together>> = [];
  for (const body of bodies) all.push(...(await together([body])));
  return all;
}

/** What generate() adds to the answer: what the decoder begins with. */
function answers(begun: number): object[] {
  return reference.greedy.map(({ source, ids }) => ({
    prompt: source,
    max_tokens: ids.length - begun,
    temperature: 0,
    ignore_eos: true,
  }));
}

describe('an encoder–decoder, packed and served by tabs', () => {
  beforeAll(() => serve('switch', 2));
  afterAll(stop);

  it('answers as transformers does, with every expert in a tab', async () => {
    const said = await alone(answers(1));
    for (const [i, { ids }] of reference.greedy.entries()) expect(said[i]![0]!.ids).toEqual(ids.slice(1));
    expect(await together(answers(1))).toEqual(said);
    const { fallbackAssignments, tabAssignments } = coordinator.dispatcher.figures;
    expect(fallbackAssignments).toBe(0);
    expect(tabAssignments).toBeGreaterThan(100);
    await until('their room to be free', () => coordinator.scheduler.kvBytesInUse === 0);
    const { text, ids } = reference.texts[0]!;
    expect((await complete({ prompt: text, max_tokens: 1 }))[0]!.prompt_token_ids).toEqual(ids);
  });

  it('gives each of many streams what it has alone, and goes on as tabs die', async () => {
    const bodies = Array.from({ length: 7 }, (_, i) => ({
      prompt: reference.sources[i % reference.sources.length],
      max_tokens: 6 + 2 * i,
      seed: i,
      temperature: i % 3 === 0 ? 0 : 1,
      n: i % 4 === 1 ? 2 : 1,
      logprobs: 0,
      ignore_eos: true,
      presence_penalty: i % 2,
    }));
    const expected = await alone(bodies);
    expect(await together(bodies)).toEqual(expected);
    const dying = together(bodies);
    const { scheduler } = coordinator;
    const before = scheduler.tokens;
    await until('answers to be under way', () => scheduler.tokens > before + 12);
    donors[0]!.kill();
    const left = await dying;
    for (const [i, choices] of left.entries()) {
      expect(
        choices.map(({ ids }) => ids),
        `request ${i}`,
      ).toEqual(expected[i]!.map(({ ids }) => ids));
    }
    donors[1]!.kill();
    const [first] = await together(bodies.slice(0, 1));
    expect(first![0]!.ids).toEqual(expected[0]![0]!.ids);
  });
});

describe('a model that translates', () => {
  beforeAll(() => serve('nllb-moe', 1));
  afterAll(stop);

  it('translates between the languages that a request names', async () => {
    const shoal = { target_language: 'fra_Latn' };
    const said = await together(answers(2).map((body) => ({ ...body, shoal })));
    for (const [i, { ids }] of reference.greedy.entries()) expect(said[i]![0]!.ids).toEqual(ids.slice(2));
    expect(coordinator.dispatcher.figures.fallbackAssignments).toBe(0);
    for (const { language, text, ids } of reference.translated!) {
      const asked = { prompt: text, max_tokens: 1, shoal: { ...shoal, source_language: language } };
      expect((await complete(asked))[0]!.prompt_token_ids).toEqual(ids);
    }
  });
});
