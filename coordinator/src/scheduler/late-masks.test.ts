import { createRng } from '@shoal/model';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { GenerationError, type GenerationEvent, type GenerationRequest } from './generation.ts';
import { alternating, anyRequest, expected, idsOf } from './testing/any-request.ts';
import { EOS } from './testing/hash-engine.ts';
import { collect, open, request, type Setting } from './testing/hash-scheduler.ts';
import { RuleConstraint } from './testing/rule-constraint.ts';
import { TurnClock, turns } from './testing/turn-clock.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

/** Turns of the event loop that a pass waits for masks. */
const GRACE = 4;

/** A constraint that answers when it is let, and what lets it. */
function held(): { constraint: RuleConstraint; let: () => void } {
  let free = (): void => {};
  const freed = new Promise<void>((resolve) => (free = resolve));
  return { constraint: new RuleConstraint(alternating, () => freed), let: free };
}

async function ending(stream: AsyncIterable<GenerationEvent>): Promise<string> {
  try {
    for await (const event of stream) if (event.type === 'finish') return event.reason;
    return 'open';
  } catch (error) {
    return (error as GenerationError).reason;
  }
}

const settings: [string, Setting][] = [
  ['without drafts', { mode: 'off' }],
  ['with drafts by the module', { rightInTen: 9 }],
  ['with drafts from the text', { mode: 'lookup' }],
];

describe.each(settings)('answers whose constraints are late at random, %s', (_, setting) => {
  it.each([1, 2] as const)('are those of each alone, in %i micro-batches', async (microBatches) => {
    const rng = createRng(40 + microBatches);
    const clock = new TurnClock(GRACE);
    const limits = { maxBatch: 6, maxQueue: 200, prefillRows: 7, microBatches };
    const lap = (): Promise<void> => turns(Math.floor(rng() * 2));
    const { scheduler, failures } = open({ numPages: 70, ...setting, limits, lap, clock });
    const asked = Array.from({ length: 80 }, (__, i) => anyRequest(i, rng));
    const work = asked.map(async ({ rule, ...each }, i) => {
      const mostTurns = [1, 3 * GRACE, 30][i % 3]!;
      const constraint = rule && new RuleConstraint(rule, () => turns(1 + Math.floor(rng() * mostTurns)));
      const want = expected(asked[i]!);
      const abort = new AbortController();
      const abortsAfter = rng() < 0.2 ? Math.floor(rng() * 60) : Number.POSITIVE_INFINITY;
      if (abortsAfter < 100) void turns(abortsAfter).then(() => abort.abort());
      const events: GenerationEvent[] = [];
      try {
        const stream = scheduler.submit({ ...each, constraint, signal: abort.signal });
        for await (const event of stream) events.push(event);
        expect(idsOf(events)).toEqual(want.ids);
      } catch (error) {
        if (!abort.signal.aborted) throw error;
        expect((error as GenerationError).reason).toBe('cancelled');
        expect(idsOf(events)).toEqual(want.ids.slice(0, idsOf(events).length));
      }
      if (!constraint) return;
      expect([constraint.closed, constraint.misuses]).toEqual([1, []]);
      expect(constraint.masksAskedAt).toEqual([...new Set(constraint.masksAskedAt)]);
      if (!abort.signal.aborted) expect(constraint.accepted).toEqual(want.ids);
    });
    await Promise.all(work);
    expect(clock.expired).toBeGreaterThan(20);
    expect(failures).toEqual([]);
    if (setting.mode !== 'off') expect(scheduler.speculation.totals.accepted).toBeGreaterThan(10);
    await expect.poll(() => [scheduler.running, scheduler.kvBytesInUse]).toEqual([[], 0]);
  });

  it('report the same log-probabilities, laps and limits of devices as when they are in time', async () => {
    const answer = async (delay?: () => Promise<void>): Promise<object[]> => {
      const clock = new TurnClock(GRACE);
      const { scheduler } = open({ ...setting, clock, limits: { prefillRows: 4 } });
      const more = { promptLogprobs: true, topLogprobs: 2, trace: true, deviceLimit: 1, temperature: 0.7 };
      const promptIds = [1, 2, 3, 1, 2, 3, 1, 2, 3, 1];
      const constraint = new RuleConstraint(alternating, delay);
      const { events } = await collect(scheduler.submit({ ...request('one', { promptIds, ...more }), constraint }));
      expect(clock.expired > 0).toBe(delay !== undefined);
      return events;
    };
    const inTime = await answer();
    expect(inTime.length).toBeGreaterThan(4);
    const rng = createRng(3);
    expect(await answer(() => turns(1 + Math.floor(rng() * 3 * GRACE)))).toEqual(inTime);
    expect(await answer(() => turns(3 * GRACE))).toEqual(inTime);
  });
});

describe('a constraint that does not answer', () => {
  const hostile = (constraint: RuleConstraint, more: Partial<GenerationRequest> = {}): GenerationRequest =>
    request('hostile', { promptIds: [3, 1, 4, 1, 5, 9], maxTokens: 9, ...more, constraint });
  const beside = (): GenerationRequest => request('beside', { maxTokens: 12, logitBias: new Map([[10, -100]]) });

  it('costs its neighbours one wait and no pass, and its own answer one more row', async () => {
    const clock = new TurnClock(GRACE);
    const { scheduler, forward } = open({ mode: 'off', clock });
    const { constraint, let: letGo } = held();
    const asked = hostile(constraint);
    const stream = collect(scheduler.submit(asked));
    const { events } = await collect(scheduler.submit(beside()));
    // Both prompts, and from then on one row a pass.
    expect(forward.passes).toEqual([9, ...Array.from({ length: 11 }, () => 1)]);
    expect(idsOf(events as GenerationEvent[])).toEqual(expected(beside()).ids);
    expect(clock.expired).toBe(1);
    // Nothing is left to compute, and nothing is computed.
    await turns(20);
    expect(forward.passes).toHaveLength(12);
    letGo();
    const want = expected({ ...asked, rule: alternating });
    expect(idsOf((await stream).events as GenerationEvent[])).toEqual(want.ids);
    // The last row of its prompt again, and not the others; each of its later tokens is computed with its mask.
    expect(forward.passes.slice(12)).toEqual(
      Array.from({ length: want.ids.length + (want.stopTokenId ? 1 : 0) }, () => 1),
    );
  });

  it('is not waited for again while it is slow, and ever more rarely if it is quick now and then', async () => {
    for (const [slowOnes, waits] of [
      [1, 1],
      [2, 5],
    ] as const) {
      const clock = new TurnClock(GRACE);
      const { scheduler } = open({ mode: 'off', clock });
      let asked = 0;
      const late = async (): Promise<void> => {
        if (asked++ % slowOnes !== 0) return;
        await turns(3 * GRACE);
        vi.advanceTimersByTime(100);
      };
      const constraint = new RuleConstraint((_, tokenId) => tokenId !== EOS, late);
      const own = collect(scheduler.submit(hostile(constraint, { maxTokens: 50 })));
      await collect(scheduler.submit(beside()));
      expect((await own).events).toHaveLength(51);
      expect(clock.expired).toBeLessThanOrEqual(waits);
      expect(clock.expired).toBeGreaterThan(0);
    }
  });

  it('gets no drafts while it says nothing about them', async () => {
    const clock = new TurnClock(GRACE);
    const { scheduler, failures } = open({ rightInTen: 10, clock });
    const constraint = new RuleConstraint(() => true);
    constraint.allowedDrafts = () => new Promise(() => {});
    const asked = hostile(constraint);
    const [own, other] = await Promise.all([collect(scheduler.submit(asked)), collect(scheduler.submit(beside()))]);
    expect(idsOf(own.events as GenerationEvent[])).toEqual(expected(asked).ids);
    expect(own.usage.drafted).toBe(0);
    expect(other.usage.accepted).toBeGreaterThan(3);
    expect(clock.expired).toBeGreaterThan(0);
    expect(failures).toEqual([]);
  });

  it('is closed when its answer is cancelled, with no pass to notice', async () => {
    const { scheduler, forward } = open({ clock: new TurnClock(GRACE) });
    const { constraint } = held();
    const abort = new AbortController();
    const end = ending(scheduler.submit(hostile(constraint, { signal: abort.signal })));
    await expect.poll(() => forward.passes).toEqual([6]);
    await turns(3 * GRACE);
    expect(scheduler.running).toHaveLength(1);
    abort.abort();
    expect(await end).toBe('cancelled');
    await turns(2);
    expect([scheduler.running, scheduler.kvBytesInUse, forward.passes]).toEqual([[], 0, [6]]);
    expect([constraint.closed, constraint.misuses]).toEqual([1, []]);
  });

  it('is waited for by a drain, up to its time limit', async () => {
    for (const comes of [true, false]) {
      const { scheduler } = open({ clock: new TurnClock(GRACE) });
      const { constraint, let: letGo } = held();
      const end = ending(scheduler.submit(hostile(constraint)));
      await turns(3 * GRACE);
      const drained = scheduler.drain(comes ? 60_000 : 2);
      if (comes) letGo();
      await drained;
      expect(['length', 'stop'].includes(await end)).toBe(comes);
      await turns(2);
      expect([scheduler.running, constraint.closed, constraint.misuses]).toEqual([[], 1, []]);
    }
  });

  it('fails its own answer at its deadline', async () => {
    vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] });
    const { scheduler } = open({ clock: new TurnClock(GRACE) });
    const { constraint } = held();
    const end = ending(scheduler.submit(hostile(constraint)));
    const { events } = await collect(scheduler.submit(beside()));
    expect(idsOf(events as GenerationEvent[])).toEqual(expected(beside()).ids);
    vi.advanceTimersByTime(10_000);
    expect(await end).toBe('internal');
    await turns(5);
    expect([scheduler.running, constraint.closed, constraint.misuses]).toEqual([[], 1, []]);
  });
});
