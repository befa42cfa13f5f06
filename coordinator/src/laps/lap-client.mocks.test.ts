import { encodeCombine, encodeRefuse, type LapRefusal, MAX_LAP_ID, peekFrame } from '@shoal/protocol';
import { TransportError } from '@shoal/transport';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { LapClient } from './lap-client.ts';
import { combine, failureOf, HIDDEN, LapClientRig, someItem, type TestLink } from './testing/lap-client-rig.ts';

// The first lap's id is random: this one wraps around within a few laps.
vi.mock('node:crypto', async (original) => ({
  ...(await original<typeof import('node:crypto')>()),
  randomInt: (max: number) => max - 3,
}));

let rig: LapClientRig;
let laps: LapClient;
let link: TestLink;
const lapOf = (lapMs: number, meter?: { frameBytes: number }): Promise<void> => rig.lapOf(lapMs, meter);

beforeEach(() => {
  rig = new LapClientRig();
  ({ laps, link } = rig);
});

describe('LapClient', () => {
  it('resolves a lap once, with its time taken apart and its bytes counted', async () => {
    const meter = { frameBytes: 0 };
    const answer = laps.ask(someItem(), { meter });
    rig.nowMs += 10;
    const frame = combine(link.lapId());
    laps.receive(frame);
    laps.receive(frame);
    const { partial, timing } = await answer;
    expect([...partial]).toEqual(Array.from({ length: 2 * HIDDEN }, () => 1));
    expect(timing).toEqual({ lapMs: 10, queueMs: 1, computeMs: 2 });
    expect(meter.frameBytes).toBe(link.sent[0]!.length + frame.length);
    expect(laps).toMatchObject({ lapsAsked: 1, lapsAnswered: 1, lapsFailed: 0, lateAnswers: 1, rows: 2, inFlight: 0 });
    expect(laps.wireMs.quantile(0.5)).toBe(7);
    expect(rig.hostile).toEqual([]);
  });

  it('believes a claimed compute time only within the lap', async () => {
    const answer = laps.ask(someItem());
    rig.nowMs += 5;
    laps.receive(combine(link.lapId(), { computeUs: 4_000_000_000, queueUs: 4_000_000_000 }));
    expect((await answer).timing).toEqual({ lapMs: 5, queueMs: 0, computeMs: 5 });
  });

  it('gives a lap up at its deadline; of a late answer only the bytes count', async () => {
    const meter = { frameBytes: 0 };
    const error = await failureOf(laps.ask(someItem(), { deadlineMs: 5, meter }));
    expect(error.reason).toBe('deadline');
    expect(laps).toMatchObject({ lapsFailed: 1, inFlight: 0 });
    expect(laps.failures.inARow).toBe(1);
    const frame = combine(link.lapId());
    for (let i = 0; i < 3; i++) laps.receive(frame);
    expect(laps).toMatchObject({ lapsAnswered: 0, rows: 0, lateAnswers: 3 });
    // The peer is told that no answer is needed any more, but its late answer was already on the wire.
    expect(link.sent.map((sent) => peekFrame(sent).type)).toEqual(['dispatch', 'cancel']);
    expect(meter.frameBytes).toBe(link.sent[0]!.length + link.sent[1]!.length + frame.length);
    expect(rig.hostile).toEqual([]);
  });

  it('accepts some repeated answers, but not without end', async () => {
    const answer = laps.ask(someItem());
    const frame = combine(link.lapId());
    laps.receive(frame);
    await answer;
    for (let repeat = 0; repeat < 200; repeat++) laps.receive(frame);
    expect(rig.hostile).toEqual([]);
    for (let repeat = 0; repeat < 200; repeat++) laps.receive(frame);
    expect(rig.hostile).toHaveLength(1);
    expect(rig.hostile[0]).toContain('repeats answers without end');
    // Nothing after it is read.
    expect(laps.lateAnswers).toBeLessThan(300);
  });

  it('does not take a lap back that a replica was faster with: its answer still tells what the peer is worth', async () => {
    for (let i = 0; i < 20; i++) await lapOf(20);
    const { result, overtaken } = laps.attempt(someItem(), { meter: { frameBytes: 0 } });
    rig.nowMs += 400;
    overtaken('peer');
    expect(laps.expected.standing).toBe('avoid');
    expect(laps).toMatchObject({ lapsFailed: 0, inFlight: 1 });
    expect(laps.failures.inARow).toBe(0);
    laps.receive(combine(link.lapId()));
    await result;
    expect(laps.expected.standing).toBe('known');
    expect(laps.lapMs.quantile(1)).toBe(400);
    expect(peekFrame(link.sent.at(-1)!).type).toBe('dispatch');
    // After its end nothing happens any more.
    overtaken('coordinator');
    expect(laps.failures.inARow).toBe(0);
  });

  it('drains a known peer that lets the coordinator be faster again and again, whatever it answers later', async () => {
    const overtake = (): void => {
      const { result, overtaken } = laps.attempt(someItem(), { meter: { frameBytes: 0 } });
      result.catch(() => {});
      rig.nowMs += 1;
      overtaken('coordinator');
    };
    for (let i = 0; i < 30; i++) overtake();
    expect(laps.failures.verdict).toBeUndefined();
    for (let i = 0; i < 20; i++) await lapOf(5_000);
    const verdicts = Array.from({ length: 25 }, () => {
      rig.nowMs += 1_000;
      overtake();
      laps.receive(combine(link.lapId()));
      return laps.failures.verdict;
    });
    expect(verdicts.indexOf('drain')).toBe(19);
  });

  it('learns nothing from answers without sums that have one, and drains a peer that gives them', async () => {
    const partial = new Float32Array(2 * HIDDEN).fill(Number.NaN, 0, HIDDEN);
    const withheld = (index = -1): void => {
      const lapId = link.lapId(index);
      laps.receive(encodeCombine({ lapId, numRows: 2, hiddenSize: HIDDEN, queueUs: 0, computeUs: 0, partial }));
    };
    const ask = () => laps.ask(someItem(), { meter: { frameBytes: 0 } });
    // In flight together, and checked after a while.
    const both = [ask(), ask()];
    rig.nowMs += 1;
    withheld();
    withheld(-2);
    rig.nowMs += 50;
    for (const answer of both) laps.checked(await answer, true);
    expect(laps.failures.inARow).toBe(1);
    for (let i = 0; i < 3; i++) {
      const answer = ask();
      rig.nowMs += 1;
      withheld();
      laps.checked(await answer, true);
    }
    expect(laps.failures.verdict).toBe('drain');
    expect(laps).toMatchObject({ lapsAnswered: 5, rows: 0 });
    expect([laps.lapMs.length, laps.expected.perAssignmentMs]).toEqual([0, 0]);
    // An honest one is an answer like others.
    const honest = ask();
    withheld();
    laps.checked(await honest, false);
    expect(laps.failures.inARow).toBe(0);
  });

  it('cannot be made to wait longer and longer by a peer that keeps some laps', async () => {
    for (let i = 0; i < 20; i++) await lapOf(20);
    const before = laps.hedgeAfterMs(1);
    for (let i = 0; i < 50; i++) {
      const { result, overtaken } = laps.attempt(someItem(), { meter: { frameBytes: 0 }, deadlineMs: 1 });
      rig.nowMs += 5_000;
      overtaken('peer');
      await failureOf(result);
      await lapOf(20);
    }
    expect(laps.hedgeAfterMs(1)).toBe(before);
    expect(laps.failures.verdict).toBe('dismiss');
  });

  it('hedgeAfterMs is the 95th percentile of enough laps, and at most a quarter of a second before', async () => {
    expect(laps.hedgeAfterMs(0)).toBe(10);
    await lapOf(4_000);
    expect(laps.hedgeAfterMs(0)).toBe(250);
    for (let i = 0; i < 60; i++) await lapOf(20);
    for (let i = 0; i < 4; i++) await lapOf(50);
    expect(laps.hedgeAfterMs(0)).toBe(50);
    // Two rows took its backend 2 ms.
    expect(laps.hedgeAfterMs(64)).toBe(50 + 64);
    for (let i = 0; i < 20; i++) await lapOf(400);
    // It claims to compute no longer than before, yet a 64th of a lap is allowed for each row.
    expect(laps.hedgeAfterMs(64)).toBe(2 * 400);
  });

  it('is on trial until enough of its laps are known, and whenever it has failed or been idle', async () => {
    expect(laps.trial).toBe('untried');
    const test = laps.ask(someItem());
    laps.receive(combine(link.lapId()));
    await test;
    expect(laps.trial).toBe('untried');
    for (let i = 0; i < 20; i++) {
      if (i > 0) expect(laps.trial).toBe('doubtful');
      await lapOf(20);
    }
    expect(laps.trial).toBeUndefined();
    rig.nowMs += 3_001;
    expect(laps.trial).toBe('doubtful');
    await lapOf(20);
    expect(laps.trial).toBeUndefined();
    const refused = failureOf(laps.ask(someItem()));
    laps.receive(encodeRefuse({ lapId: link.lapId(), reason: 'busy' }));
    await refused;
    expect(laps.trial).toBe('doubtful');
  });

  it('hedgeAfterMs of a steady peer is far beyond its median, not the latest lap of twenty', async () => {
    for (let i = 0; i < 40; i++) await lapOf(20 + (i % 20) / 10);
    expect(laps.hedgeAfterMs(0)).toBeCloseTo(1.5 * 20.9);
  });

  it('misses no answer that came while this process was busy itself', async () => {
    const { port1, port2 } = new MessageChannel();
    port1.addEventListener('message', () => laps.receive(combine(link.lapId())));
    port1.start();
    // Starts in the event loop's phase after reading: timers are next.
    await new Promise(setImmediate);
    const answer = laps.ask(someItem(), { deadlineMs: 20 });
    port2.postMessage('the answer is here');
    const busyUntilMs = performance.now() + 40;
    while (performance.now() < busyUntilMs);
    await expect(answer).resolves.toHaveProperty('timing');
    expect(laps.failures.inARow).toBe(0);
    port1.close();
  });

  it.each<LapRefusal>(['failed', 'device-lost', 'unknown-expert', 'paused', 'busy', 'stale-epoch'])(
    'avoids a peer that refused a lap as %s',
    async (reason) => {
      for (let i = 0; i < 20; i++) await lapOf(20);
      const answer = failureOf(laps.ask(someItem(), { meter: { frameBytes: 0 } }));
      laps.receive(encodeRefuse({ lapId: link.lapId(), reason }));
      expect(await answer).toMatchObject({ reason: 'refused', refusal: reason });
      expect(laps.expected.standing).toBe('avoid');
      expect(laps.failures.inARow).toBe(1);
      expect(laps.failures.verdict).toBeUndefined();
    },
  );

  it('fails a lap at once when the link cannot take it or ends', async () => {
    link.failure = new TransportError('queue-full', 'full');
    expect((await failureOf(laps.ask(someItem()))).reason).toBe('busy');
    link.failure = undefined;
    const inFlight = [laps.ask(someItem()), laps.ask(someItem())].map(failureOf);
    laps.close('gone');
    expect((await Promise.all(inFlight)).map(({ reason }) => reason)).toEqual(['closed', 'closed']);
    expect((await failureOf(laps.ask(someItem()))).reason).toBe('closed');
    // Frames that still arrive from a dropped peer are ignored.
    laps.receive(new Uint8Array(3));
    expect(rig.hostile).toEqual([]);
  });

  it('counts lap ids in 24 bits, from 0 again at the end', async () => {
    for (let i = 0; i < 6; i++) await lapOf(1);
    const ids = link.sent.map((_, i) => link.lapId(i));
    expect(ids).toEqual([MAX_LAP_ID - 2, MAX_LAP_ID - 1, MAX_LAP_ID, 0, 1, 2]);
    expect(laps).toMatchObject({ lapsAnswered: 6, lateAnswers: 0 });
  });

  it('refuses a lap when 32 are in flight', async () => {
    const inFlight = Array.from({ length: 32 }, () => failureOf(laps.ask(someItem())));
    expect((await failureOf(laps.ask(someItem()))).reason).toBe('busy');
    laps.close('done');
    await Promise.all(inFlight);
  });

  it.each([
    ['was never asked for', (lapId: number) => combine((lapId + 9) & MAX_LAP_ID)],
    ['has another shape', (lapId: number) => combine(lapId, { numRows: 1 })],
    ['is no frame', () => new Uint8Array(100)],
    ['is a dispatch', () => link.sent[0]!],
  ])('whose answer %s is given up, and its peer dropped, once', async (_, lie) => {
    const failure = failureOf(laps.ask(someItem()));
    const frame = lie(link.lapId());
    laps.receive(frame);
    laps.receive(frame);
    expect((await failure).reason).toBe('closed');
    expect(rig.hostile).toHaveLength(1);
  });

  it('takes an answer to a lap forgotten after thousands of others as hostile', async () => {
    await lapOf(1);
    const first = combine(link.lapId(0));
    for (let i = 0; i < 4_096; i++) await lapOf(1);
    laps.receive(combine(link.lapId(1)));
    expect(rig.hostile).toEqual([]);
    laps.receive(first);
    expect(rig.hostile).toHaveLength(1);
  });

  it('deadlineMs is a second at first, unless tests took long, then follows the 95th percentile and the rows, within bounds', async () => {
    expect(laps.deadlineMs(0)).toBe(1_000);
    const test = laps.ask(someItem());
    rig.nowMs += 500;
    laps.receive(combine(link.lapId()));
    await test;
    expect(laps.deadlineMs(0)).toBe(3_000);
    await lapOf(2);
    expect(laps.deadlineMs(1)).toBe(1_000);
    for (let i = 1; i < 20; i++) await lapOf(2);
    expect(laps.deadlineMs(1)).toBe(300);
    for (let i = 0; i < 2; i++) await lapOf(400);
    expect(laps.deadlineMs(64)).toBeCloseTo(400 * 6 * 2);
    // Nothing tells how long its line takes for so many rows.
    expect(laps.deadlineMs(65)).toBe(15_000);
    for (let i = 0; i < 4; i++) await lapOf(60_000);
    expect(laps.deadlineMs(1)).toBe(15_000);
  });

  it('historyMs gives medians, one a second for a minute', async () => {
    for (const lapMs of [3, 1, 2]) await lapOf(lapMs);
    rig.nowMs += 2_000;
    await lapOf(7);
    const history = laps.historyMs();
    expect(history).toHaveLength(60);
    expect(history.slice(-3)).toEqual([2, null, 7]);
    rig.nowMs += 60_000;
    expect(laps.historyMs().every((ms) => ms === null)).toBe(true);
  });
});
