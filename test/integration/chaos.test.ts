import { afterEach, expect, it } from 'vitest';
import { type Core, createCore } from '../../coordinator/src/index.ts';
import { runChaos } from '../chaos/run.ts';
import { HAPPENINGS } from '../chaos/schedule.ts';
import { CACHE_DIR, TINY_STORIES } from './golden.ts';

let core: Core;

afterEach(() => core.close());

/** The short form of `npm run chaos`: speeds are for that, here is what must hold at any speed. */
it.each([
  { name: 'crash', seed: 1, kinds: ['crash'] as const },
  { name: 'meet everything', seed: 2, kinds: HAPPENINGS },
])('eight tabs that $name change no answer', async ({ seed, kinds }) => {
  core = await createCore({ modelDir: TINY_STORIES, quant: 'f16', cacheDir: CACHE_DIR, replicas: 2, maxBatch: 20 });
  const report = await runChaos(core, { seed, kinds, peers: 8, streams: 20, durationMs: 12_000, everyMs: 2_000 });
  expect(report).toMatchObject({ failed: [], different: [] });
  expect(report.answers).toBeGreaterThanOrEqual(20);
  expect(report.tabsLost).toBeGreaterThan(0);
  // Two replicas and one tab lost at a time: the coordinator hardly has to step in.
  expect(report.uncoveredShare).toBeLessThan(0.05);
  expect(report.hedges).toBeLessThanOrEqual(report.laps * 0.05 + 4);
});
