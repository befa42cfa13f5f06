import { createRng, type ExpertDispatch } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { Scheduler, type SchedulerLimits } from './scheduler.ts';
import { testLimits, testSpeculation } from './testing/options.ts';
import { VirtualTime } from './testing/virtual-time.ts';
import { expected, lappingForward, type LayerWork, NUM_LAYERS, submit } from './testing/lapping-forward.ts';

interface Costs {
  /** Cost of one layer's own work: for any pass, and for each row. */
  layerMs: number;
  rowMs: number;
  lapMs: number;
  /** Largest relative change of a lap's time. */
  jitter?: number;
}

const STREAMS = 16;
const TOKENS = 64;

/** Runs greedy streams with work and laps of known cost. Times of one pass of all rows, once the pace is steady. */
async function measure(costs: Costs, microBatches: SchedulerLimits['microBatches']) {
  const time = new VirtualTime();
  const rng = createRng(5);
  let engineFreeMs = 0;
  // One program after another, as on the dense engine’s threads.
  const work: LayerWork = async (rows) => {
    const queuedMs = time.nowMs;
    const startedMs = Math.max(queuedMs, engineFreeMs);
    const endedMs = (engineFreeMs = startedMs + costs.layerMs + costs.rowMs * rows);
    await time.after(endedMs - queuedMs);
    return { queuedMs, startedMs, endedMs };
  };
  const lapMs = (): number => costs.lapMs * (1 + (costs.jitter ?? 0) * (2 * rng() - 1));
  const experts = {
    batch: (): ExpertDispatch => ({
      dispatch: ({ x }) => {
        const back = time.after(lapMs());
        return { combine: () => back.then(() => x) };
      },
    }),
  };
  const shoal = new Scheduler({
    modelId: 'small',
    forward: lappingForward(work),
    experts,
    limits: testLimits({ microBatches }),
    lapsPerPass: NUM_LAYERS,
    speculation: testSpeculation(),
    now: () => time.nowMs,
  });
  const answers = Array.from({ length: STREAMS }, (_, i) => submit(shoal, [i], TOKENS));
  const rowsAt = (tokens: number) => time.runUntil(() => shoal.tokens >= tokens);
  // The first tokens let microBatches find their pace, and `auto` its choice.
  await rowsAt(STREAMS * 32);
  const before = { ms: time.nowMs, waited: shoal.occupancy.waitingMs, tokens: shoal.tokens };
  await rowsAt(STREAMS * 60);
  const rounds = (shoal.tokens - before.tokens) / STREAMS;
  const result = {
    microBatches: shoal.microBatches,
    ms: (time.nowMs - before.ms) / rounds,
    waitedMs: (shoal.occupancy.waitingMs - before.waited) / rounds,
  };
  await time.runUntil(() => shoal.running.length === 0);
  for (const [i, answer] of answers.entries()) expect(await answer).toEqual(expected([i], TOKENS));
  return result;
}

const half = ({ layerMs, rowMs }: Costs): number => layerMs + (rowMs * STREAMS) / 2;
const whole = ({ layerMs, rowMs }: Costs): number => layerMs + rowMs * STREAMS;

describe('in virtual time, 16 streams', () => {
  it('wait for what laps take beyond the other half’s work, as two customers of one dense engine must', async () => {
    const costs = { layerMs: 4, rowMs: 0.5, lapMs: 20 };
    const one = await measure(costs, 1);
    const two = await measure(costs, 2);
    expect(one.ms).toBeCloseTo(NUM_LAYERS * (whole(costs) + costs.lapMs), 6);
    expect(one.waitedMs).toBeCloseTo(NUM_LAYERS * costs.lapMs, 6);
    expect(two.ms).toBeCloseTo(NUM_LAYERS * (half(costs) + costs.lapMs), 6);
    expect(two.waitedMs).toBeCloseTo(NUM_LAYERS * (costs.lapMs - half(costs)), 6);
  });

  it('wait not at all where a half’s work takes as long as a lap', async () => {
    const costs = { layerMs: 4, rowMs: 2, lapMs: 20 };
    const one = await measure(costs, 1);
    const two = await measure(costs, 2);
    expect(one.waitedMs).toBeCloseTo(NUM_LAYERS * 20, 6);
    expect(two.waitedMs).toBeLessThan(0.01 * one.waitedMs);
    expect(two.ms).toBeCloseTo(NUM_LAYERS * 2 * half(costs), 6);
  });

  it('do not fall into step where laps take now longer, now shorter', async () => {
    const costs = { layerMs: 4, rowMs: 2, lapMs: 18, jitter: 0.5 };
    const one = await measure(costs, 1);
    const two = await measure(costs, 2);
    expect(two.waitedMs).toBeLessThan(0.25 * one.waitedMs);
    expect(two.ms).toBeLessThan(0.8 * one.ms);
  });

  it('are split of themselves where that is faster, and only there', async () => {
    const long = { layerMs: 4, rowMs: 1, lapMs: 30 };
    expect(await measure(long, 'auto')).toEqual({ ...(await measure(long, 2)), microBatches: 2 });
    // Weights that take longer to read than the laps do.
    const heavy = { layerMs: 40, rowMs: 0.5, lapMs: 15 };
    const [auto, one, two] = [await measure(heavy, 'auto'), await measure(heavy, 1), await measure(heavy, 2)];
    expect(auto).toEqual(one);
    expect(two.ms).toBeGreaterThan(1.3 * one.ms);
  });
});
