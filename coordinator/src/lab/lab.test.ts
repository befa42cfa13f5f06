import {
  createReferenceEngine,
  type ForwardEngine,
  GATES,
  loadDenseWeights,
  type MoeCall,
  moeLayers,
  parseModelConfig,
  readRows,
  rowRange,
  type SequenceCache,
  type WorkItem,
} from '@shoal/model';
import { smallConfigJson, smallWeights } from '@shoal/model/testing';
import type { LabRequest } from '@shoal/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import type { LocalCompute } from '../local-experts/local-compute.ts';
import { entropyBits } from './figures.ts';
import { Lab, type LabOptions } from './lab.ts';
import { LabError } from './lab-error.ts';

const config = parseModelConfig({ ...smallConfigJson, num_hidden_layers: 3 });
const engine: ForwardEngine = createReferenceEngine({ config, weights: await loadDenseWeights(config, smallWeights) });
const ids = [3, 1, 4, 1, 5, 9, 2, 6];

/** Experts that return (1 + their number) × the row. */
const local: LocalCompute = {
  compute: async (item) => {
    items.push(item);
    await pause;
    const rows = readRows(item, config.hiddenSize);
    return rows.map((value, i) => {
      const [from, to] = rowRange(item, Math.floor(i / config.hiddenSize));
      let factor = 0;
      for (let a = from; a < to; a++) factor += item.weights[a]! * (1 + item.experts[a]!);
      return value * factor;
    });
  },
};
let items: WorkItem[] = [];
let pause: Promise<void> = Promise.resolve();
let open: SequenceCache[] = [];
/** Of the next studies, the last first. */
let clients: string[] = [];

function newLab(changes: Partial<LabOptions> = {}): Lab {
  const openSequence = (): SequenceCache => {
    const cache = engine.newSequence();
    open.push(cache);
    const free = cache.free.bind(cache);
    cache.free = () => {
      open = open.filter((other) => other !== cache);
      free();
    };
    return cache;
  };
  const tabs = () => ({ count: 2, holders: () => (expert: number) => [expert % 2] });
  return new Lab({ modelId: 'small', forward: engine, local, openSequence, tabs, rowBytes: 20, ...changes });
}

const never = new AbortController().signal;
const study = (lab: Lab, request: Partial<LabRequest> = {}, tokens: readonly number[] = ids, signal = never) =>
  lab.study({ text: '…', gate: 'own', settings: {}, ...request }, tokens, {
    client: clients.pop() ?? 'ann',
    textOf: (id) => `<${id}>`,
    signal,
  });

beforeEach(() => {
  items = [];
  pause = Promise.resolve();
  open = [];
  clients = [];
});

describe('Lab.study', () => {
  it('of the model’s own gate is what the engine chose, and what its answers would be', async () => {
    const chosen: number[][] = [];
    const cache = engine.newSequence();
    const rows = ids.map((tokenId, position) => {
      return { tokenId, position, cache, query: { token: ids[position + 1] ?? 0, topLogprobs: 0 } };
    });
    const dispatch = ({ x, topkIdx, topkWeights }: MoeCall) => {
      chosen.push([...topkIdx]);
      const k = config.numExpertsPerTok;
      const sums = x.map((value, i) => {
        const first = Math.floor(i / config.hiddenSize) * k;
        let factor = 0;
        for (let a = first; a < first + k; a++) factor += topkWeights[a]! * (1 + topkIdx[a]!);
        return value * factor;
      });
      return { combine: () => Promise.resolve(sums) };
    };
    const { answers } = await engine.forward(rows, { dispatch });
    const nll = answers.slice(0, -1).reduce((sum, answer) => sum - (answer as { logprob: number }).logprob, 0) / 7;

    const { layers, nll: found, isOwn, tokens } = await study(newLab());
    expect(layers.map(({ experts }) => experts)).toEqual(chosen);
    expect(layers.map(({ layer }) => layer)).toEqual(moeLayers(config));
    // Rows and sums are rounded to f16 on their way.
    expect(found).toBeCloseTo(nll, 2);
    expect(isOwn).toBe(true);
    expect(tokens[1]).toEqual({ id: 1, text: '<1>' });
    expect(open).toEqual([]);
  });

  it.each(Object.keys(GATES))('runs the model with %s', async (gate) => {
    const { layers, nll, isOwn, title } = await study(newLab(), { gate });
    expect(layers.length).toBe(2);
    for (const { figures, rowEnd, combine } of layers) {
      expect(rowEnd?.length ?? combine!.length / 4).toBe(ids.length);
      expect(figures.load.length).toBe(4);
      expect(figures.loadBits).toBeLessThanOrEqual(2 + 1e-9);
      expect(figures.bytesPerToken).toBeGreaterThan(0);
    }
    expect(nll).toBeGreaterThan(0);
    expect([isOwn, title]).toEqual([false, GATES[gate as keyof typeof GATES].title]);
    expect(items.every((item) => item.numRows > 0 && item.rowEnd.at(-1) === item.experts.length)).toBe(true);
    expect(open).toEqual([]);
  });

  it('counts load, tabs and bytes', async () => {
    const { layers } = await study(newLab(), { gate: 'hash', settings: { k: 2 } });
    for (const { figures, experts, rowEnd } of layers) {
      expect(figures.load).toEqual([0, 1, 2, 3].map((e) => experts!.filter((expert) => expert === e).length));
      const tabs = ids.map((_, row) => new Set(experts!.slice(2 * row, 2 * row + 2).map((e) => e % 2)).size);
      const mean = tabs.reduce((a, b) => a + b) / ids.length;
      expect(figures.tabsPerToken).toBeCloseTo(mean, 12);
      expect(figures.bytesPerToken).toBeCloseTo(mean * 2 * 20, 12);
      expect(rowEnd).toEqual(ids.map((_, i) => 2 * i + 2));
    }
    const one = await study(newLab(), { gate: 'hash', tabs: 1 });
    expect([one.tabs, one.tabsAreAssumed, one.layers[0]!.figures.tabsPerToken]).toEqual([1, true, 1]);
  });

  it('refuses a text whose slots would take too long to mix', async () => {
    const wide = { ...config, hiddenSize: 1 << 20 };
    const refused = study(newLab({ forward: { ...engine, config: wide } }), { gate: 'soft' });
    await expect(refused).rejects.toMatchObject({ reason: 'invalid', param: 'text' });
    await expect(refused).rejects.toThrow('take texts of up to 4 tokens, and this one has 8. Shorten it');
  });

  it('counts no tab for what the coordinator computes', async () => {
    const noTabs = newLab({ tabs: () => ({ count: 0, holders: () => () => [] }) });
    for (const gate of ['own', 'soft']) {
      const { figures } = (await study(noTabs, { gate })).layers[0]!;
      expect([figures.tabsPerToken, figures.bytesPerToken], gate).toEqual([0, 0]);
    }
  });

  it('gives each expert its own slots', async () => {
    await study(newLab(), { gate: 'soft' });
    expect(items.map((item) => [...item.experts].join())).toEqual(['0,1,2,3', '0,1,2,3']);
    expect(items.every((item) => item.weights.every((weight) => weight === 1))).toBe(true);
  });

  it('leaves it to the model’s gate to scale inputs, and tells its weights', async () => {
    const scaling = {
      ...config,
      numExpertsPerTok: 1,
      gate: { ...config.gate, scalesInput: true, normTopkProb: false },
    };
    const forward = createReferenceEngine({ config: scaling, weights: await loadDenseWeights(config, smallWeights) });
    const { layers } = await study(newLab({ forward, openSequence: () => forward.newSequence() }));
    expect(items.every((item) => item.weights.every((weight) => weight === 1))).toBe(true);
    expect(layers[0]!.weights!.every((weight) => weight > 0 && weight < 1)).toBe(true);
  });

  it('keeps rows without an expert as they are', async () => {
    const { layers } = await study(newLab(), { gate: 'top-1-capacity', settings: { capacity: 1 } });
    const { figures } = layers[0]!;
    expect(figures.dropped).toBeGreaterThan(0);
    expect(figures.withoutExpert).toBe(figures.dropped);
    expect(items[0]!.numRows).toBe(ids.length - figures.dropped);
  });

  it.each<[string, Partial<LabRequest>, readonly number[], string, string]>([
    ['no token', {}, [], 'text', 'no tokens'],
    ['too many tokens', {}, Array(97).fill(1), 'text', '97 tokens; send at most 96'],
    ['no such gate', { gate: 'none' }, ids, 'gate', 'top-k, group-limited'],
    ['a setting of the own gate', { settings: { k: 1 } }, ids, 'settings.k', "the model's own gate"],
    ['no such setting', { gate: 'soft', settings: { k: 1 } }, ids, 'settings.k', 'there are: none'],
    [
      'inputs to be scaled',
      { gate: 'top-k', settings: { scalesInput: true } },
      ids,
      'settings.scalesInput',
      'there are: k, ',
    ],
    ['more experts than there are', { gate: 'hash', settings: { k: 5 } }, ids, 'settings.k', 'there are only 4'],
    [
      'a capacity factor of 0',
      { gate: 'expert-choice', settings: { capacityFactor: 0 } },
      ids,
      'settings.capacityFactor',
      '0',
    ],
    ['a setting of another type', { gate: 'noisy-top-k', settings: { seed: 'x' } }, ids, 'settings.seed', 'seed is x'],
  ])('refuses %s by name, before the model runs', async (_, request, tokens, param, problem) => {
    const refused = study(newLab(), request, tokens);
    await expect(refused).rejects.toThrow(problem);
    await expect(refused).rejects.toMatchObject({ reason: 'invalid', param });
    expect(items).toEqual([]);
  });

  it('takes one text at a time, lets four wait, two of a client, and refuses more', async () => {
    let goOn = (): void => {};
    pause = new Promise((resolve) => (goOn = resolve));
    const lab = newLab();
    clients = ['cy', 'bob', 'bob', 'ann', 'ann'];
    const first = Array.from({ length: 4 }, () => study(lab));
    clients.push('ann');
    await expect(study(lab)).rejects.toMatchObject({ reason: 'busy', message: expect.stringContaining('of yours') });
    first.push(study(lab));
    clients.push('dee');
    await expect(study(lab)).rejects.toMatchObject({ reason: 'busy', message: '5 texts are in the lab already.' });
    expect(open.length).toBeLessThanOrEqual(1);
    goOn();
    await Promise.all(first);
    await study(lab);
    expect(open).toEqual([]);
  });

  it('stops between layers when its reader has gone, and when its time is over', async () => {
    const gone = new AbortController();
    const hungUp = study(
      newLab({ local: { compute: (item) => (gone.abort(), local.compute(item)) } }),
      {},
      ids,
      gone.signal,
    );
    await expect(hungUp).rejects.toMatchObject({ name: 'AbortError' });
    expect(items.length).toBe(1);
    const late = newLab({
      timeoutMs: 1,
      local: { compute: (item) => new Promise((resolve) => setTimeout(resolve, 20)).then(() => local.compute(item)) },
    });
    await expect(study(late)).rejects.toMatchObject({ reason: 'timeout' });
    expect(items.length).toBe(2);
    expect(open).toEqual([]);
  });

  it('tells when the KV cache has no room, and goes on after a failure', async () => {
    const full = newLab({ openSequence: () => undefined });
    await expect(study(full)).rejects.toBeInstanceOf(LabError);
    let fails = true;
    const lab = newLab({
      local: { compute: (item) => (fails ? Promise.reject(new Error('disk')) : local.compute(item)) },
    });
    await expect(study(lab)).rejects.toThrow('disk');
    fails = false;
    await expect(study(lab)).resolves.toMatchObject({ isOwn: true });
  });
});

describe('Lab.facts', () => {
  it('lists every gate with settings that begin with the model’s own values and are valid', async () => {
    const lab = newLab();
    const { gates, own, layers } = lab.facts();
    expect(gates.map(({ name }) => name)).toEqual(Object.keys(GATES));
    expect(own.settings).toMatchObject({ k: 2, scoring: 'sigmoid' });
    expect(layers).toEqual([1, 2]);
    for (const { name, settings } of gates) {
      const sent = Object.fromEntries(
        settings.flatMap(({ name: key, value }) => (value === null ? [] : [[key, value]])),
      );
      await expect(study(lab, { gate: name, settings: sent }), name).resolves.toBeDefined();
    }
  });

  it('says why no gate can take the place of one that scales inputs', async () => {
    const scaling = { ...config, gate: { ...config.gate, scalesInput: true } };
    const lab = newLab({ forward: { ...engine, config: scaling } });
    expect(lab.facts()).toMatchObject({ gates: [], refusal: expect.stringContaining('scales the inputs') });
    await expect(study(lab, { gate: 'hash' })).rejects.toMatchObject({ param: 'gate' });
  });
});

describe('entropyBits', () => {
  it('is log2 of the number of equal shares, and 0 of one and of none', () => {
    expect(entropyBits([3, 3, 3, 3])).toBeCloseTo(2, 12);
    expect(entropyBits([0, 7])).toBe(0);
    expect(entropyBits([0, 0])).toBe(0);
    expect(entropyBits([1, 3])).toBeCloseTo(2 - 0.75 * Math.log2(3), 12);
  });
});
