import { afterEach, expect, it } from 'vitest';
import { type Core, createCore } from '../../coordinator/src/index.ts';
import { MAX_LIED_ROWS } from '../chaos/report.ts';
import { runChaos } from '../chaos/run.ts';
import { HAPPENINGS } from '../chaos/schedule.ts';
import { coreStage } from '../chaos/stage.ts';
import { virtualTabs } from '../chaos/victims.ts';
import { tinyConfig } from './tiny-coordinator.ts';

let core: Core;

afterEach(() => core.close());

async function chaos(kinds: (typeof HAPPENINGS)[number][], durationMs: number, everyMs: number) {
  core = await createCore(tinyConfig({ replicas: 2, maxBatch: 16 }));
  const tabs = [{ maker: virtualTabs(() => core), count: 8 }];
  return runChaos(coreStage(core), { seed: 1, tabs, kinds, streams: 12, durationMs, everyMs });
}

/** The short form of `npm run chaos`: asserts only what must hold at any speed. */
it('chaos: eight tabs that crash, freeze, leave, lag, lose and corrupt change no answer', async () => {
  const kinds = HAPPENINGS.filter((kind) => !['restart', 'liar', 'adversary'].includes(kind));
  const report = await chaos(kinds, 3_600, 400);
  expect(report).toMatchObject({ failed: [], different: [], violations: [] });
  expect(Object.keys(report.events).toSorted()).toEqual(kinds.toSorted());
  expect(report.answers).toBeGreaterThanOrEqual(12);
  expect(report.tabsLost).toBeGreaterThan(0);
  // Two replicas and one tab lost at a time, so fallback is rare; at a load of 15 on two cores 7 % was measured.
  expect(report.uncoveredShare).toBeLessThan(0.15);
  expect(report.hedges).toBeLessThanOrEqual(report.laps * 0.05 + 4);
});

it('chaos: of eight liars none is believed for long, and nobody in probation or quarantine at all', async () => {
  const report = await chaos(['liar', 'crash'], 4_600, 260);
  expect(report).toMatchObject({ failed: [], different: [], violations: [] });
  expect(report.liars.length).toBeGreaterThanOrEqual(8);
  for (const liar of report.liars) {
    if (liar.begins === 'from the start') expect(liar).toMatchObject({ usedRows: 0, rowsInSums: 0 });
    expect(liar.usedRows).toBeLessThanOrEqual(MAX_LIED_ROWS);
  }
});

it('chaos: tabs that refuse slowly, stay silent, answer slowly or never load hold no answer up', async () => {
  const report = await chaos(['adversary'], 6_000, 700);
  expect(report).toMatchObject({ failed: [], different: [], violations: [] });
  expect(new Set(report.adversaries.map(({ kind }) => kind)).size).toBe(5);
  // One lap that waits for such a tab takes up to ten seconds, and with it every stream of the batch.
  expect(report.answers).toBeGreaterThanOrEqual(12);
});
