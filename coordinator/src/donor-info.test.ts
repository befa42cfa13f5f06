import { donorInfoSchema } from '@shoal/protocol';
import { expect, it } from 'vitest';
import { Settings } from './settings/index.ts';
import { type DonorInfoSources, donorInfoOf } from './donor-info.ts';

const SHARD_BYTES = 850;

/** Two layers of four experts, of which each tab serves some. */
function sources(tabs: readonly (readonly number[])[], config: Partial<DonorInfoSources['config']> = {}) {
  const swarm = {
    model: { layers: [1, 2], expertsPerLayer: 4, groupsPerLayer: 1, shardBytes: SHARD_BYTES, hiddenSize: 64 },
    servingAnywhere: () => tabs.map((live, i) => ({ peerId: `tab-${i}`, live: new Set(live) })),
  };
  return {
    core: {
      config: { numExpertsPerTok: 2 },
      packed: { manifest: { shape: { quant: 'q4' } } },
      scheduler: { modelId: 'tiny' },
      swarm,
      settings: new Settings({ operatorName: 'Ada', about: 'A model of small stories.' }),
    },
    config: { rowFormat: 'f16', cpuDonors: true, ...config },
    access: { policy: { inviteOnly: false } },
    snapshots: { tokensPerSecond: 12.5 },
  } as unknown as DonorInfoSources;
}

it('tells what the schema says', () => {
  const info = donorInfoOf(sources([]));
  expect(donorInfoSchema.parse(info)).toEqual(info);
  expect(info.operator).toEqual({ name: 'Ada', about: 'A model of small stories.' });
  // 85 % of a pledge is for weights.
  expect(info.model).toMatchObject({ id: 'tiny', layers: 2, expertsPerLayer: 4, expertsPerToken: 2 });
  expect(info.model.pledgeBytesPerExpert).toBe(1001);
});

it('counts what no tab holds, and what too few hold', () => {
  const need = (...tabs: number[][]) => donorInfoOf(sources(tabs)).need;
  expect(need()).toEqual({ servingTabs: 0, uncovered: 8, thin: 8, replicas: 2 });
  expect(need([0, 1, 2, 3], [3, 4])).toEqual({ servingTabs: 2, uncovered: 3, thin: 7, replicas: 2 });
  const all = [0, 1, 2, 3, 4, 5, 6, 7];
  expect(need(all, all)).toEqual({ servingTabs: 2, uncovered: 0, thin: 0, replicas: 2 });
});

it('counts a row there and back in the format in which rows travel', () => {
  const bytes = (rowFormat: 'f16' | 'int8') => donorInfoOf(sources([], { rowFormat })).traffic.bytesPerTokenAndLayer;
  expect(bytes('f16')).toBe(2 * 64 * 2);
  expect(bytes('int8')).toBe(2 * (64 + 2));
});
