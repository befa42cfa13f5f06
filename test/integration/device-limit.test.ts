import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LabFacts, LabStudy } from '@shoal/protocol';
import { type Coordinator, type Core, createCore } from '../../coordinator/src/index.ts';
import { answer } from './answers.ts';
import { GOLDEN, promisedLength } from './golden.ts';
import { covered, until, VirtualDonor } from './virtual-donor.ts';
import { startTinyCoordinator, tinyConfig } from './tiny-coordinator.ts';

let core: Core;
let donors: VirtualDonor[] = [];

/** Ten tabs that can hold half a layer each, so that a token's experts lie on two. */
beforeEach(async () => {
  core = await createCore(tinyConfig({ replicas: 1 }));
  const pledgeBytes = Math.ceil((16 * core.packed.manifest.shardBytes) / 0.85);
  donors = await Promise.all(Array.from({ length: 10 }, () => VirtualDonor.join(core, { pledgeBytes })));
  await until('all experts to be served', () => covered(core));
});
afterEach(async () => {
  await core.close();
  await Promise.all(donors.map((donor) => donor.close()));
});

describe('deviceLimit, a limit on the tabs of a token and layer,', () => {
  it('is off by default: the gate’s choice stands, over as many tabs as it takes', async () => {
    const golden = GOLDEN[3]!;
    const { ids, events } = await answer(core, golden.prompt_ids, { maxTokens: 24 });
    expect(ids).toEqual(golden.greedy_ids.slice(0, Math.min(24, promisedLength(golden))));
    expect(core.dispatcher.figures.tabRowParts / core.dispatcher.figures.tabRows).toBeGreaterThan(1.2);
    expect(core.dispatcher.figures.limitedChoices).toBe(0);
    expect(events.at(-1)).toMatchObject({ type: 'finish', reason: 'length' });
    expect(events.at(-1)).not.toHaveProperty('deviceLimit');
  });

  it('of one keeps every token of its request on one tab a layer, and says how often that changed the choice', async () => {
    const prompt = GOLDEN[3]!.prompt_ids;
    const { events } = await answer(core, prompt, { maxTokens: 24, deviceLimit: 1 });
    expect(core.dispatcher.figures.tabRowParts).toBe(core.dispatcher.figures.tabRows);
    const tokenLayers = (prompt.length + 23) * 5;
    expect(events.at(-1)).toMatchObject({ type: 'finish', deviceLimit: { maxPeers: 1, tokenLayers } });
    const { deviceLimit } = events.at(-1) as { deviceLimit: { changed: number } };
    expect(deviceLimit.changed).toBeGreaterThan(0);
    // Rows of rejected drafts do not count for the answer.
    const { limitedChoices, changedChoices } = core.dispatcher.figures;
    expect(limitedChoices).toBeGreaterThanOrEqual(tokenLayers);
    expect(changedChoices - deviceLimit.changed).toBeLessThanOrEqual(limitedChoices - tokenLayers);
  });

  it('as wide as the choice changes nothing', async () => {
    const golden = GOLDEN[3]!;
    const { ids, events } = await answer(core, golden.prompt_ids, { maxTokens: 24, deviceLimit: 4 });
    expect(ids).toEqual(golden.greedy_ids.slice(0, 24));
    expect(events.at(-1)).toMatchObject({ deviceLimit: { changed: 0 } });
  });

  it('of one request leaves those beside it alone', async () => {
    const golden = GOLDEN[6]!;
    const [free] = await Promise.all([
      answer(core, golden.prompt_ids, { maxTokens: 24 }),
      answer(core, GOLDEN[3]!.prompt_ids, { maxTokens: 24, deviceLimit: 1 }),
    ]);
    expect(free.ids).toEqual(golden.greedy_ids.slice(0, 24));
  });
});

/** What the lab says of a text is what serving it does: its experts on as many tabs, and its tokens as likely. */
async function expectLab({ url, dispatcher }: Coordinator, ask: (shoal: object, more: object) => Promise<object>) {
  const text = 'The old boat was on the lake. Tom and his dog went there to play.';
  const study = async (body: object): Promise<{ status: number; body: LabStudy }> => {
    const headers = { 'content-type': 'application/json' };
    const answered = await fetch(`${url}/v1/gates`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ text, ...body }),
    });
    return { status: answered.status, body: (await answered.json()) as LabStudy };
  };
  const meanTabs = ({ layers }: LabStudy): number =>
    layers.reduce((sum, { figures }) => sum + figures.tabsPerToken, 0) / layers.length;
  const { tabRows, tabRowParts } = dispatcher.figures;
  const echo = { prompt: text, max_tokens: 0, echo: true, logprobs: 0 };
  // Beside each other: the lab's pass is no part of the batch.
  const [served, { body: own }] = await Promise.all([ask({ device_limit: 0 }, echo), study({})]);
  const { figures } = dispatcher;
  const { logprobs } = (served as { choices: { logprobs: { token_logprobs: (number | null)[] } }[] }).choices[0]!;
  const known = logprobs.token_logprobs.filter((value) => value !== null);
  expect(known.length).toBe(own.tokens.length - 1);
  // Sums of two tabs are rounded twice.
  expect(own.nll).toBeCloseTo(-known.reduce((a, b) => a + b) / known.length, 2);
  expect([own.tabs, own.isOwn]).toEqual([10, true]);
  expect(meanTabs(own)).toBeCloseTo((figures.tabRowParts - tabRowParts) / (figures.tabRows - tabRows), 1);
  expect(meanTabs(own)).toBeGreaterThan(1.2);

  const { body: limited } = await study({ gate: 'device-limited', settings: { maxPeers: 1 } });
  expect([meanTabs(limited), limited.isOwn]).toEqual([1, false]);
  expect(limited.nll).not.toBe(own.nll);
  expect((await study({ gate: 'device-limited', settings: { maxPeers: 4 } })).body.nll).toBe(own.nll);
  expect((await study({ gate: 'none' })).status).toBe(400);
  expect((await study({ text: 'a '.repeat(300) })).status).toBe(400);
  const facts = (await (await fetch(`${url}/v1/gates`)).json()) as LabFacts;
  expect([facts.tabs, facts.layers, facts.experts]).toEqual([10, [1, 2, 3, 4, 5], 32]);
}

it('device_limit over HTTP: a client asks for a limit, and is told what it did', async () => {
  const coordinator = await startTinyCoordinator({
    replicas: 1,
    deviceLimit: 2,
    drainTimeoutMs: 100,
  });
  const pledgeBytes = Math.ceil((16 * coordinator.packed.manifest.shardBytes) / 0.85);
  const tabs = await Promise.all(Array.from({ length: 10 }, () => VirtualDonor.join(coordinator, { pledgeBytes })));
  await until('all experts to be served', () => covered(coordinator));
  try {
    const ask = async (shoal: object, more: object = {}) => {
      const body = { model: 'tiny-stories', prompt: 'The old boat', max_tokens: 8, temperature: 0, shoal, ...more };
      const response = await fetch(`${coordinator.url}/v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      return (await response.json()) as { usage: { shoal?: unknown }; error?: { param: string } };
    };
    const tokenLayers = (4 + 7) * 5;
    expect((await ask({ device_limit: 1 })).usage.shoal).toMatchObject({ device_limit: 1, token_layers: tokenLayers });
    expect((await ask({})).usage.shoal).toMatchObject({ device_limit: 2, token_layers: tokenLayers });
    expect((await ask({ device_limit: 0 })).usage.shoal).not.toHaveProperty('device_limit');
    expect((await ask({ device_limit: -1 })).error?.param).toContain('device_limit');
    await expectLab(coordinator, ask);
    // An answer that ends at a stop string counts its work.
    expect((await ask({ device_limit: 1 }, { stop: 'e' })).usage.shoal).toMatchObject({ device_limit: 1 });
  } finally {
    await coordinator.close();
    await Promise.all(tabs.map((tab) => tab.close()));
  }
});
