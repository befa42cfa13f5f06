import { encodeCombine, encodeRefuse, type LapRefusal, MAX_LAP_ID, peekFrame } from '@shoal/protocol';
import { type Link, TransportError } from '@shoal/transport';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../base/clock.ts';
import { LapError } from './lap.ts';
import { type WorkItem, uniformWorkItem } from '@shoal/model';
import { LapClient } from './lap-client.ts';

const HIDDEN = 4;

// The first lap's id is random: here one that leads over the end within a few laps.
vi.mock('node:crypto', async (original) => ({
  ...(await original<typeof import('node:crypto')>()),
  randomInt: (max: number) => max - 3,
}));

/** A link whose other end is the test. */
class TestLink implements Link {
  readonly state = 'open';
  onFrame: Link['onFrame'];
  onClose: Link['onClose'];
  readonly sent: Uint8Array[] = [];
  failure: TransportError | undefined;
  bytesReceived = 0;
  send(frame: Uint8Array): Promise<void> {
    this.sent.push(frame);
    return this.failure ? Promise.reject(this.failure) : Promise.resolve();
  }
  close(): void {}
  stats() {
    const { bytesReceived } = this;
    return { bytesSent: 0, bytesReceived, framesSent: 0, framesReceived: 0, rttMs: undefined, lost: 0 };
  }
  lapId(index = -1): number {
    return peekFrame(this.sent.at(index)!).lapId;
  }
}

let link: TestLink;
let laps: LapClient;
let hostile: string[];
let nowMs: number;

beforeEach(() => {
  link = new TestLink();
  hostile = [];
  nowMs = 1_000_000;
  laps = new LapClient({
    link,
    hiddenSize: HIDDEN,
    epoch: () => 3,
    onHostile: (reason) => hostile.push(reason),
    clock: { ...systemClock, now: () => nowMs },
  });
});

const request = (numRows = 2): WorkItem =>
  uniformWorkItem({
    layer: 1,
    rows: new Uint16Array(numRows * HIDDEN),
    numRows,
    experts: new Uint16Array(numRows),
    weights: new Float32Array(numRows).fill(1),
  });

function combine(lapId: number, more: { numRows?: number; computeUs?: number; queueUs?: number } = {}) {
  const { numRows = 2, computeUs = 2_000, queueUs = 1_000 } = more;
  const partial = new Uint16Array(numRows * HIDDEN).fill(0x3c00);
  return encodeCombine({ lapId, numRows, hiddenSize: HIDDEN, queueUs, computeUs, partial });
}

/** One lap, answered after `lapMs`. */
async function lapOf(lapMs: number, meter = { frameBytes: 0 }): Promise<void> {
  const answer = laps.ask(request(), { meter });
  nowMs += lapMs;
  laps.receive(combine(link.lapId()));
  await answer;
}

const failureOf = (answer: Promise<unknown>): Promise<LapError> =>
  answer.then(
    () => Promise.reject(new Error('the lap was answered')),
    (error: unknown) => error as LapError,
  );

describe('a lap', () => {
  it('is answered once, with its time taken apart and its bytes counted', async () => {
    const meter = { frameBytes: 0 };
    const answer = laps.ask(request(), { meter });
    nowMs += 10;
    const frame = combine(link.lapId());
    laps.receive(frame);
    laps.receive(frame);
    const { partial, timing } = await answer;
    expect([...partial]).toEqual(Array.from({ length: 2 * HIDDEN }, () => 0x3c00));
    expect(timing).toEqual({ lapMs: 10, queueMs: 1, computeMs: 2 });
    expect(meter.frameBytes).toBe(link.sent[0]!.length + frame.length);
    expect(laps).toMatchObject({ lapsAsked: 1, lapsAnswered: 1, lapsFailed: 0, lateAnswers: 1, rows: 2, inFlight: 0 });
    expect(laps.wireMs.quantile(0.5)).toBe(7);
    expect(hostile).toEqual([]);
  });

  it('believes no tab that claims to have computed longer than the lap took', async () => {
    const answer = laps.ask(request());
    nowMs += 5;
    laps.receive(combine(link.lapId(), { computeUs: 4_000_000_000, queueUs: 4_000_000_000 }));
    expect((await answer).timing).toEqual({ lapMs: 5, queueMs: 0, computeMs: 5 });
  });

  it('is given up at its deadline; a late answer settles nothing, and only its bytes count', async () => {
    const meter = { frameBytes: 0 };
    const error = await failureOf(laps.ask(request(), { deadlineMs: 5, meter }));
    expect(error.reason).toBe('deadline');
    expect(laps).toMatchObject({ lapsFailed: 1, consecutiveFailures: 1, inFlight: 0 });
    const frame = combine(link.lapId());
    for (let i = 0; i < 3; i++) laps.receive(frame);
    expect(laps).toMatchObject({ lapsAnswered: 0, rows: 0, lateAnswers: 3 });
    // The tab is told that nobody waits any more, and its late answer has crossed the wire all the same.
    expect(link.sent.map((sent) => peekFrame(sent).type)).toEqual(['dispatch', 'cancel']);
    expect(meter.frameBytes).toBe(link.sent[0]!.length + link.sent[1]!.length + frame.length);
    expect(hostile).toEqual([]);
  });

  it('may be answered twice, but not without end', async () => {
    const answer = laps.ask(request());
    const frame = combine(link.lapId());
    laps.receive(frame);
    await answer;
    for (let repeat = 0; repeat < 200; repeat++) laps.receive(frame);
    expect(hostile).toEqual([]);
    for (let repeat = 0; repeat < 200; repeat++) laps.receive(frame);
    expect(hostile).toHaveLength(1);
    expect(hostile[0]).toContain('repeats answers without end');
    // Nothing after it is read.
    expect(laps.lateAnswers).toBeLessThan(300);
  });

  it('is cancelled without a stain on the peer', async () => {
    const meter = { frameBytes: 0 };
    const { result, cancel } = laps.attempt(request(), { meter });
    nowMs += 40;
    cancel();
    cancel();
    expect((await failureOf(result)).reason).toBe('cancelled');
    expect(laps).toMatchObject({ lapsFailed: 0, consecutiveFailures: 0, inFlight: 0 });
    // That it took at least so long is known.
    expect(laps.lapMs.quantile(0.5)).toBe(40);
    expect(link.sent.map((sent) => peekFrame(sent).type)).toEqual(['dispatch', 'cancel']);
    expect(laps.expected.standing).toBe('avoid');
    laps.receive(combine(link.lapId()));
    expect(laps).toMatchObject({ lapsAnswered: 0, lateAnswers: 1 });
    expect(hostile).toEqual([]);
  });

  it('is hedged after the 95th percentile of enough laps, and not before', async () => {
    for (let i = 0; i < 17; i++) await lapOf(20);
    for (let i = 0; i < 2; i++) await lapOf(50);
    expect(laps.hedgeAfterMs(0)).toBe(Number.POSITIVE_INFINITY);
    await lapOf(20);
    expect(laps.hedgeAfterMs(0)).toBe(50);
    // Two rows took its backend 2 ms.
    expect(laps.hedgeAfterMs(64)).toBe(50 + 64);
    for (let i = 0; i < 20; i++) await lapOf(400);
    // Its word is that it computes no longer than before; a 64th of a lap for each row is allowed all the same.
    expect(laps.hedgeAfterMs(64)).toBe(2 * 400);
  });

  it('of a steady peer is hedged when it is far later than usual, not when it is the latest of twenty', async () => {
    for (let i = 0; i < 40; i++) await lapOf(20 + (i % 20) / 10);
    expect(laps.hedgeAfterMs(0)).toBeCloseTo(1.5 * 20.9);
  });

  it('is not late when its answer came while this process was busy itself', async () => {
    const { port1, port2 } = new MessageChannel();
    port1.addEventListener('message', () => laps.receive(combine(link.lapId())));
    port1.start();
    // From the phase of the event loop that comes after reading: timers are next.
    await new Promise(setImmediate);
    const answer = laps.ask(request(), { deadlineMs: 20 });
    port2.postMessage('the answer is here');
    const busyUntilMs = performance.now() + 40;
    while (performance.now() < busyUntilMs);
    await expect(answer).resolves.toHaveProperty('timing');
    expect(laps.consecutiveFailures).toBe(0);
    port1.close();
  });

  it.each<[LapRefusal, number]>([
    ['failed', 1],
    ['device-lost', 1],
    ['unknown-expert', 1],
    ['paused', 0],
    ['busy', 0],
    ['stale-epoch', 0],
  ])('refused as %s counts %i against the peer', async (reason, failures) => {
    const answer = laps.ask(request(), { meter: { frameBytes: 0 } });
    laps.receive(encodeRefuse({ lapId: link.lapId(), reason }));
    expect(await failureOf(answer)).toMatchObject({ reason: 'refused', refusal: reason });
    expect(laps.consecutiveFailures).toBe(failures);
  });

  it('fails at once when the link cannot take it or goes away', async () => {
    link.failure = new TransportError('queue-full', 'full');
    expect((await failureOf(laps.ask(request()))).reason).toBe('busy');
    link.failure = undefined;
    const inFlight = [laps.ask(request()), laps.ask(request())].map(failureOf);
    laps.close('gone');
    expect((await Promise.all(inFlight)).map(({ reason }) => reason)).toEqual(['closed', 'closed']);
    expect((await failureOf(laps.ask(request()))).reason).toBe('closed');
    // What still arrives of a peer that was dropped is nobody's business.
    laps.receive(new Uint8Array(3));
    expect(hostile).toEqual([]);
  });

  it('has an id of 24 bits, which begin again at 0', async () => {
    for (let i = 0; i < 6; i++) await lapOf(1);
    const ids = link.sent.map((_, i) => link.lapId(i));
    expect(ids).toEqual([MAX_LAP_ID - 2, MAX_LAP_ID - 1, MAX_LAP_ID, 0, 1, 2]);
    expect(laps).toMatchObject({ lapsAnswered: 6, lateAnswers: 0 });
  });

  it('is refused here when 32 are in flight', async () => {
    const inFlight = Array.from({ length: 32 }, () => failureOf(laps.ask(request())));
    expect((await failureOf(laps.ask(request()))).reason).toBe('busy');
    laps.close('done');
    await Promise.all(inFlight);
  });

  it.each([
    ['was never asked for', (lapId: number) => combine((lapId + 9) & MAX_LAP_ID)],
    ['has another shape', (lapId: number) => combine(lapId, { numRows: 1 })],
    ['is no frame', () => new Uint8Array(100)],
    ['is a dispatch', () => link.sent[0]!],
  ])('whose answer %s is given up, and its peer dropped, once', async (_, lie) => {
    const failure = failureOf(laps.ask(request()));
    const frame = lie(link.lapId());
    laps.receive(frame);
    laps.receive(frame);
    expect((await failure).reason).toBe('closed');
    expect(hostile).toHaveLength(1);
  });

  it('whose id was forgotten after thousands of others is hostile, and memory has an end', async () => {
    await lapOf(1);
    const first = combine(link.lapId(0));
    for (let i = 0; i < 4_096; i++) await lapOf(1);
    laps.receive(combine(link.lapId(1)));
    expect(hostile).toEqual([]);
    laps.receive(first);
    expect(hostile).toHaveLength(1);
  });
});

describe('what is expected of a peer', () => {
  it('is a try at first, then what its laps took, more with what is in flight', async () => {
    expect(laps.expected).toEqual({ standing: 'try', fixedMs: 0, perAssignmentMs: 0 });
    for (let i = 0; i < 40; i++) await lapOf(20);
    const { standing, fixedMs, perAssignmentMs } = laps.expected;
    expect(standing).toBe('known');
    const assignments = request().experts.length;
    expect(fixedMs + perAssignmentMs * assignments).toBeCloseTo(20);
    const pending = laps.ask(request(), { deadlineMs: 1_000 });
    expect(laps.expected.fixedMs).toBeCloseTo(fixedMs + perAssignmentMs * assignments);
    laps.receive(combine(link.lapId()));
    await pending;
    expect(laps.expected.fixedMs).toBeCloseTo(fixedMs);
    nowMs += 60_000;
    expect(laps.expected.standing).toBe('try');
  });

  it('is nothing for a while after a failure, so that a replica is asked first', async () => {
    await lapOf(10);
    const refused = failureOf(laps.ask(request()));
    laps.receive(encodeRefuse({ lapId: link.lapId(), reason: 'failed' }));
    await refused;
    expect(laps.expected.standing).toBe('avoid');
    nowMs += 3_001;
    expect(laps.expected.standing).toBe('try');
    await lapOf(10);
    expect(laps.expected.standing).toBe('known');
  });

  it('is nothing for longer while it gives no sign of life, so that a frozen tab holds no stream up again', async () => {
    await lapOf(10);
    await failureOf(laps.ask(request(), { deadlineMs: 1 }));
    nowMs += 3_001;
    expect(laps.expected.standing).toBe('avoid');
    // The answer to a heartbeat.
    link.bytesReceived += 4;
    expect(laps.expected.standing).toBe('try');

    const { result, cancel } = laps.attempt(request());
    cancel();
    await failureOf(result);
    nowMs += 3_001;
    expect(laps.expected.standing).toBe('avoid');
    // By then heartbeats would have ended it, if they could not be answered.
    nowMs += 7_000;
    expect(laps.expected.standing).toBe('try');
  });

  it('sets the deadline: generous at first, then from the 95th percentile and the rows, within bounds', async () => {
    expect(laps.deadlineMs(1)).toBe(10_000);
    await lapOf(2);
    expect(laps.deadlineMs(1)).toBe(1_000);
    for (let i = 1; i < 20; i++) await lapOf(2);
    expect(laps.deadlineMs(1)).toBe(300);
    for (let i = 0; i < 2; i++) await lapOf(400);
    expect(laps.deadlineMs(64)).toBeCloseTo(400 * 6 * 2);
    for (let i = 0; i < 4; i++) await lapOf(60_000);
    expect(laps.deadlineMs(1)).toBe(15_000);
  });

  it('leaves a history of medians, one a second for a minute', async () => {
    for (const lapMs of [3, 1, 2]) await lapOf(lapMs);
    nowMs += 2_000;
    await lapOf(7);
    const history = laps.historyMs();
    expect(history).toHaveLength(60);
    expect(history.slice(-3)).toEqual([2, null, 7]);
    nowMs += 60_000;
    expect(laps.historyMs().every((ms) => ms === null)).toBe(true);
  });
});
