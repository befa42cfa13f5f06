import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseModelConfig, withoutMtp } from '@shoal/model';
import { ROOT_DIR } from '../config.ts';
import { describe, expect, it } from 'vitest';
import { measureBandwidth, planServing, type PlanInput } from './capacity.ts';

const CONFIGS = join(ROOT_DIR, 'packages/model/src/testing/published-configs');
const GIB = 2 ** 30;

/**
 * The design's planning table (4.5 bits a weight at q4, 8.5 at q8, tabs filled to 85 %, one copy), and the tabs needed
 * for whole experts: a tab of 1 GiB holds 36 of V3's, not 36.8, so the table's 404 tabs become 413.
 */
const TABLE = [
  {
    name: 'DeepSeek-V2-Lite',
    laps: 26,
    q4: 4.6,
    q8: 8.8,
    all: 7.5,
    tabs: [9, 5, 3],
    whole: [9, 5, 3],
    row: 4096,
    traffic: 0.21,
    own: 1.3,
  },
  {
    name: 'DeepSeek-V3',
    laps: 58,
    q4: 23.6,
    q8: 44.6,
    all: 343,
    tabs: [404, 202, 101],
    whole: [413, 204, 102],
    row: 14_336,
    traffic: 1.66,
    own: 17,
  },
  {
    name: 'Qwen3-30B-A3B',
    laps: 48,
    q4: 2.5,
    q8: 4.8,
    all: 15.2,
    tabs: [18, 9, 5],
    whole: [18, 9, 5],
    row: 4096,
    traffic: 0.39,
    own: 1.5,
  },
  {
    name: 'OLMoE-1B-7B-0924',
    laps: 16,
    q4: 3.4,
    q8: 6.4,
    all: 3.4,
    tabs: [4, 2, 1],
    whole: [4, 2, 1],
    row: 4096,
    traffic: 0.13,
    own: 0.5,
  },
];

function plan(name: string, changes: Partial<PlanInput> = {}) {
  const read = () => JSON.parse(readFileSync(join(CONFIGS, `${name}.json`), 'utf8')) as unknown;
  return planServing({
    config: changes.config ?? withoutMtp(parseModelConfig(read(), name)),
    quant: 'q4',
    denseQuant: 'q8',
    tabBytes: GIB,
    replicas: 1,
    rttMs: 20,
    contextTokens: 4096,
    bandwidthBytesPerS: 1e10,
    ...changes,
  });
}

describe.each(TABLE)('$name', ({ name, laps, q4, q8, all, tabs, whole, row, traffic, own }) => {
  const one = plan(name);

  it('has the sizes of the planning table', () => {
    expect(one.lapsPerToken).toBe(laps);
    expect(Math.abs(one.expertBytes / 2 ** 20 - q4)).toBeLessThan(0.06);
    expect(Math.abs(plan(name, { quant: 'q8' }).expertBytes / 2 ** 20 - q8)).toBeLessThan(0.06);
    expect(Math.abs(one.allExpertsBytes / GIB - all)).toBeLessThan(all > 100 ? 0.6 : 0.06);
    expect(one.rowBytes).toBe(row);
    expect(Math.abs(one.floorBytesPerToken / 1e6 - traffic)).toBeLessThan(0.0051);
    expect(Math.abs(one.coordinator.parameters / 1e9 - own)).toBeLessThan(own > 10 ? 0.5 : 0.06);
  });

  it('takes the tabs of the planning table by bytes, and as many as whole experts need', () => {
    const planned = [1, 2, 4].map((gib) => plan(name, { tabBytes: gib * GIB }).tabs);
    expect(planned.map(({ countByBytes }) => countByBytes)).toEqual(tabs);
    expect(planned.map(({ count }) => count)).toEqual(whole);
  });
});

describe('planServing', () => {
  it('counts latents for MLA: 70,394 B a token for V3', () => {
    const { coordinator } = plan('DeepSeek-V3');
    expect(coordinator.kvBytesPerToken).toBe(70_394);
    expect(coordinator.kvBytesAtContext).toBe(4096 * 70_394);
  });

  it('has ceilings from laps, from memory, and from both', () => {
    const { ceilings, coordinator } = plan('DeepSeek-V2-Lite');
    expect(ceilings.roundTrip).toBeCloseTo(1 / (26 * 0.02), 9);
    expect(ceilings.bandwidth).toBeCloseTo(1e10 / ceilings.weightsReadPerToken, 9);
    expect(1 / ceilings.both).toBeCloseTo(1 / ceilings.roundTrip + 1 / ceilings.bandwidth, 9);
    // The embedding is read by the row.
    const embedding = coordinator.weightsBytes - ceilings.weightsReadPerToken;
    expect(embedding / ((102_400 * 2048 * 8.5) / 8)).toBeCloseTo(1, 2);
  });

  it('takes twice the tabs for two copies, never fewer tabs than copies', () => {
    expect(plan('DeepSeek-V3', { replicas: 2 }).tabs.count).toBe(825);
    expect(plan('OLMoE-1B-7B-0924', { replicas: 3, tabBytes: 64 * GIB }).tabs.count).toBe(3);
  });

  it('says what memory for own layers buys: laps, tabs, and time to read their experts', () => {
    const { localExperts, ceilings, expertBytes } = plan('DeepSeek-V2-Lite');
    expect(localExperts.layerBytes).toBe(64 * expertBytes);
    expect(
      localExperts.steps.map(({ localBytes, layers, lapsPerToken, tabs }) => [
        localBytes / GIB,
        layers,
        lapsPerToken,
        tabs,
      ]),
    ).toEqual([
      [1, 3, 23, 8],
      [2, 6, 20, 7],
      [4, 13, 13, 5],
      [8, 26, 0, 0],
    ]);
    const [first] = localExperts.steps;
    const read = ceilings.weightsReadPerToken + 3 * 6 * expertBytes;
    expect(1 / first!.tokensPerSecond).toBeCloseTo(23 * 0.02 + read / 1e10, 9);
    // On a fast line, reading a layer takes longer than asking for it.
    const near = plan('DeepSeek-V2-Lite', { rttMs: 1, bandwidthBytesPerS: 1e9 });
    expect(near.localExperts.steps[0]!.tokensPerSecond).toBeLessThan(near.ceilings.both);
  });

  it('counts laps and reads of an encoder–decoder’s decoder, and experts and positions of both stacks', () => {
    const small = join(ROOT_DIR, 'test/golden/fixtures/seq2seq/nllb-moe/config.json');
    const sizes = { d_model: 2048, encoder_ffn_dim: 8192, decoder_ffn_dim: 8192, num_experts: 128 };
    const layers = { encoder_layers: 24, decoder_layers: 24, encoder_sparse_step: 4, decoder_sparse_step: 4 };
    const json = { ...(JSON.parse(readFileSync(small, 'utf8')) as object), ...sizes, ...layers };
    const nllb = plan('', { config: parseModelConfig(json), contextTokens: 100 });
    expect([nllb.moeLayers, nllb.lapsPerToken]).toEqual([12, 6]);
    expect(nllb.allExpertsBytes).toBe(12 * 128 * nllb.expertBytes);
    const { kvBytesPerToken, kvBytesAtContext, weightsBytes } = nllb.coordinator;
    // Keys and values of 2048 values, in 16 bits with an exponent each.
    expect(kvBytesPerToken).toBe(24 * (2 * 2048 * 2 + 2));
    expect(kvBytesAtContext).toBe(2 * 100 * kvBytesPerToken);
    const encoder = weightsBytes - nllb.ceilings.weightsReadPerToken;
    expect(encoder / weightsBytes).toBeGreaterThan(0.3);
    const [first] = nllb.localExperts.steps;
    expect(nllb.tabs.count).toBe(Math.ceil((12 * 128) / nllb.tabs.expertsPerTab));
    expect(first).toMatchObject({
      layers: 1,
      lapsPerToken: 5,
      tabs: Math.ceil((11 * 128) / nllb.tabs.expertsPerTab),
    });
  });

  it('has no steps of less than a layer', () => {
    const { localExperts } = plan('DeepSeek-V3');
    expect(localExperts.steps.map(({ localBytes }) => localBytes / GIB)).toEqual([8, 16, 32, 64, 128, 256, 512]);
    expect(localExperts.steps[0]).toMatchObject({ layers: 1, lapsPerToken: 57, mtp: undefined });
  });

  it('refuses a tab that holds no expert', () => {
    expect(() => plan('DeepSeek-V3', { tabBytes: 16 * 2 ** 20 })).toThrow(/must lend \d+ bytes/);
  });
});

describe('measureBandwidth', () => {
  it('finds a rate that memory can have', () => {
    const rate = measureBandwidth();
    expect(rate).toBeGreaterThan(1e7);
    expect(rate).toBeLessThan(1e13);
  });
});
