import type { PeerHostStats } from '@shoal/peer';
import type { DonorInfo, Standing } from '@shoal/protocol';
import { expect, it } from 'vitest';
import { type DonorState, initialState } from './donor-state.ts';
import { headline, leadText } from './live-words.ts';

const info = {
  model: { layers: 5, expertsPerLayer: 32 },
  need: { servingTabs: 4, uncovered: 0, thin: 0, replicas: 1 },
} as DonorInfo;

function wordsOf(state: Partial<DonorState>): string {
  const all = { ...initialState(2 ** 30), info, ...state };
  return `${headline(all)} | ${leadText(all)}`;
}

const standing = { experts: 24, layers: [3, 4, 5] } as unknown as Standing;
const loaded = { allocatedBytes: 2 ** 24 } as PeerHostStats;

it('says in plain words what a tab does', () => {
  const working = wordsOf({ phase: 'working', standing, stats: loaded });
  expect(working).toContain('Your GPU is helping with an answer');
  expect(working).toMatch(/holds 24 experts of layers 3\W+5\. All 160 experts are served by 4 tabs\./);
  expect(wordsOf({ phase: 'waiting', standing })).toContain('helps as soon as someone asks');
  expect(wordsOf({ phase: 'waiting', device: 'cpu' })).toContain('No action needed');
});

it('claims no weights of a paused tab that holds none', () => {
  expect(wordsOf({ phase: 'paused', standing, stats: loaded })).toContain('weights stay loaded');
  const empty = { allocatedBytes: 0 } as PeerHostStats;
  for (const stats of [undefined, empty]) expect(wordsOf({ phase: 'paused', stats })).toContain('Nothing is loaded');
});

it('thanks for a tab that the operator frees', () => {
  expect(wordsOf({ phase: 'finishing', standing, isFreed: true })).toContain('freeing this tab. Thank you!');
  expect(wordsOf({ phase: 'finishing', standing })).toContain('Finishing the work in progress');
});
