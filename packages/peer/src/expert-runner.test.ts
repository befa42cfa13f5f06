import { createReferenceBackend, KernelError, type ExpertBackend, type WorkItem, type TakeSums } from '@shoal/kernels';
import {
  decodeCombine,
  decodeF16,
  encodeCancel,
  encodeDispatch,
  encodeF16,
  encodeRefuse,
  itemRows,
  roundedRows,
} from '@shoal/protocol';
import { memoryLinkPair } from '@shoal/transport';
import { assert, asyncProperty, nat, tuple } from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { ExpertRunner, HOME, MAX_LAPS_RUNNING } from './expert-runner.ts';
import { MAX_LAPS_QUEUED } from './link-laps.ts';
import { heldBackend } from './testing/held-backend.ts';
import { LapAsker, makeLap, makeShards, nmseOf, SHAPE } from './testing/tiny-peer.ts';

let reference: ExpertBackend;
let backend: ExpertBackend;
let runner: ExpertRunner;
let asker: LapAsker;
let links: ReturnType<typeof memoryLinkPair>;
let closed: string[];

beforeEach(async () => {
  const { refs, bytesOf, reference: wholeModel } = await makeShards([1, 2], 4);
  reference = wholeModel;
  backend = createReferenceBackend(SHAPE);
  for (const { layer, expert, sha256 } of refs) await backend.load(layer, expert, bytesOf.get(sha256)!);
  closed = [];
  runner = new ExpertRunner({
    holds: (layer, expert) => backend.has(layer, expert),
    onLinkClosed: (reason, coordinator) => closed.push(`${coordinator} ${reason}`),
  });
  runner.setBackend(backend);
  runner.epoch = 5;
  links = memoryLinkPair();
  runner.attach(links.b);
  asker = new LapAsker(links.a);
});

/** All that was sent before has arrived and been handled, however busy the machine is: the link keeps its order, and this is refused at once. */
const arrived = () => asker.ask(makeLap(1, [0xdead]), 5);
/** For what must not happen meanwhile. */
const turn = () => new Promise((resolve) => setTimeout(resolve, 5));

describe('laps', () => {
  it('are answered with what the reference computes', async () => {
    const laps = [makeLap(1, [0, 3]), makeLap(2, [1], 40), makeLap(2, [2, 3, 0], 1)];
    const answers = await Promise.all(laps.map((lap) => asker.ask(lap, 5)));
    for (const [i, lap] of laps.entries()) expect(await nmseOf(answers[i]!, lap, reference)).toBeLessThan(1e-6);
    expect(runner.counters).toMatchObject({ laps: 3, rows: 44, refused: 0, malformed: 0 });
    expect(answers[0]!.combine!.computeUs).toBeGreaterThan(0);
  });

  it('that are cancelled are not answered: neither what waits, nor what is on the GPU', async () => {
    const held = heldBackend(backend);
    runner.setBackend(held.backend);
    const answered: number[] = [];
    const asked = Array.from({ length: MAX_LAPS_RUNNING + 2 }, () => makeLap(1, [0]));
    for (const [i, lap] of asked.entries()) void asker.ask(lap, 5).then(() => answered.push(i));
    // Lap ids count from 1.
    const ids = asked.map((_, i) => i + 1);
    // One on the GPU, one that waits, one that never was.
    for (const lapId of [ids[0]!, ids[MAX_LAPS_RUNNING]!, 0xdead]) await links.a.send(encodeCancel({ lapId }));
    await arrived();
    held.release();
    await expect.poll(() => held.started.length).toBe(MAX_LAPS_RUNNING + 1);
    held.release();
    await expect.poll(() => answered.length).toBe(asked.length - 2);
    await turn();
    expect(answered).toEqual(asked.map((_, i) => i).filter((i) => i !== 0 && i !== MAX_LAPS_RUNNING));
    expect(held.started.length).toBe(MAX_LAPS_RUNNING + 1);
    // The one refused is `arrived`.
    expect(runner.counters).toMatchObject({ cancelled: 2, refused: 1 });
  });

  it('run a few at a time; what waits behind them says how long it has waited', async () => {
    const held = heldBackend(backend);
    runner.setBackend(held.backend);
    const asked = Array.from({ length: MAX_LAPS_RUNNING + 2 }, () => asker.ask(makeLap(1, [0]), 5));
    await arrived();
    expect(held.started.length).toBe(MAX_LAPS_RUNNING);
    await turn();
    held.release();
    await Promise.all(asked.slice(0, MAX_LAPS_RUNNING));
    await expect.poll(() => held.started.length).toBe(asked.length);
    held.release();
    const last = await asked.at(-1)!;
    expect(last.combine!.queueUs).toBeGreaterThanOrEqual(4000);
  });

  it('beyond the queue are refused as busy, and the others answered', async () => {
    const held = heldBackend(backend);
    runner.setBackend(held.backend);
    const room = MAX_LAPS_RUNNING + MAX_LAPS_QUEUED;
    const asked = Array.from({ length: room + 3 }, () => asker.ask(makeLap(1, [0]), 5));
    const overflow = await Promise.all(asked.slice(room));
    expect(overflow.map((answer) => answer.refusal)).toEqual(['busy', 'busy', 'busy']);
    const releasing = setInterval(held.release, 1);
    const answers = await Promise.all(asked.slice(0, room));
    clearInterval(releasing);
    expect(answers.every((answer) => answer.combine)).toBe(true);
  });
});

describe('refusals', () => {
  it('of experts that are not held: stale if the lap is of an older placement', async () => {
    expect((await asker.ask(makeLap(1, [0, 9]), 5)).refusal).toBe('unknown-expert');
    expect((await asker.ask(makeLap(7, [0]), 6)).refusal).toBe('unknown-expert');
    expect((await asker.ask(makeLap(1, [0, 9]), 4)).refusal).toBe('stale-epoch');
    // A frame says only the lowest 16 bits, whatever came to pass between.
    runner.epoch = 0x3_0002;
    expect((await asker.ask(makeLap(1, [0, 9]), 0x2_ffff)).refusal).toBe('stale-epoch');
    expect((await asker.ask(makeLap(1, [0, 9]), 0x3_0002)).refusal).toBe('unknown-expert');
    expect((await asker.ask(makeLap(1, [0, 9]), 0x3_0003)).refusal).toBe('unknown-expert');
    // An old lap for experts that are still here does no harm.
    expect((await asker.ask(makeLap(1, [0]), 4)).combine).toBeDefined();
  });

  it('while paused, of what waits as well as of what comes; what runs is answered', async () => {
    const held = heldBackend(backend);
    runner.setBackend(held.backend);
    const asked = Array.from({ length: MAX_LAPS_RUNNING + 1 }, () => asker.ask(makeLap(1, [0]), 5));
    await arrived();
    runner.setPaused(true);
    expect((await asked.at(-1)!).refusal).toBe('paused');
    expect((await asker.ask(makeLap(1, [0]), 5)).refusal).toBe('paused');
    held.release();
    expect((await asked[0]!).combine).toBeDefined();
    runner.setPaused(false);
    const after = asker.ask(makeLap(1, [0]), 5);
    await arrived();
    held.release();
    expect((await after).combine).toBeDefined();
  });

  it('without a device', async () => {
    runner.setBackend(undefined, true);
    expect((await asker.ask(makeLap(1, [0]), 5)).refusal).toBe('device-lost');
    runner.setBackend(undefined);
    expect((await asker.ask(makeLap(1, [0]), 5)).refusal).toBe('unknown-layer');
  });

  it.each([
    [new KernelError('device-lost', 'gone'), 'device-lost'],
    [new KernelError('not-loaded', 'gone'), 'unknown-expert'],
    [new KernelError('bad-lap', 'odd'), 'bad-frame'],
    [new Error('a bug'), 'failed'],
  ])('after %s of the backend', async (error, refusal) => {
    runner.setBackend(Object.assign(Object.create(backend), { shape: SHAPE, run: () => Promise.reject(error) }));
    expect((await asker.ask(makeLap(1, [0]), 5)).refusal).toBe(refusal);
  });

  it('of no row that has a sum, however large, and of one that has none for nothing but itself', async () => {
    const lap = makeLap(1, [0]);
    lap.rows = encodeF16(new Float32Array(lap.rows.length).fill(60_000));
    lap.weights.set([1e6, 3e38, 1]);
    const { combine } = await asker.ask(lap, 5);
    const { partial } = await reference.run(lap);
    const D = SHAPE.hiddenSize;
    expect(partial.some((value) => Math.abs(value) > 1e9)).toBe(true);
    expect([...combine!.partial.subarray(D, 2 * D)].every(Number.isNaN)).toBe(true);
    for (const row of [0, 2]) {
      const rows = (values: Float32Array): Float32Array => values.subarray(row * D, (row + 1) * D);
      expect(rows(combine!.partial)).toEqual(roundedRows('f16', rows(partial), D));
    }
  });
});

describe('laps that wait together', () => {
  /** A backend that takes laps together, each piece when the test says so. */
  function togetherBackend() {
    const pieces: number[][] = [];
    const gates: (() => void)[] = [];
    const together: ExpertBackend = Object.assign(Object.create(backend) as ExpertBackend, {
      shape: SHAPE,
      runTogether: async (laps: readonly WorkItem[], take: TakeSums) => {
        pieces.push(laps.map(({ layer }) => layer));
        await new Promise<void>((resolve) => gates.push(resolve));
        const sums = await Promise.all(laps.map((lap) => backend.run(lap)));
        for (const [i, { partial }] of sums.entries()) take(i, partial, 7);
      },
    });
    return { together, pieces, open: () => gates.splice(0).forEach((gate) => gate()) };
  }

  it('go together, whatever their layers, and each is answered with its own sums', async () => {
    const { together, pieces, open } = togetherBackend();
    runner.setBackend(together);
    const laps = [makeLap(1, [0]), makeLap(2, [1]), makeLap(1, [2], 3), makeLap(2, [0, 3], 2), makeLap(1, [1])];
    const answers = laps.map((lap) => asker.ask(lap, 5));
    await arrived();
    // One is computed, one waits behind it, and the rest waits here.
    expect(pieces).toEqual([[1], [2]]);
    open();
    await expect.poll(() => pieces).toEqual([[1], [2], [1, 2, 1]]);
    open();
    for (const [i, lap] of laps.entries()) expect(await nmseOf(await answers[i]!, lap, reference)).toBeLessThan(1e-6);
  });

  it('are as many as a chunk of prefill has rows', async () => {
    const { together, pieces, open } = togetherBackend();
    runner.setBackend(together);
    const rows = [1, 1, 40, 24, 1, 100];
    const answers = rows.map((numRows) => asker.ask(makeLap(1, [0], numRows), 5));
    await arrived();
    const opening = setInterval(open, 1);
    expect((await Promise.all(answers)).every(({ combine }) => combine)).toBe(true);
    clearInterval(opening);
    expect(pieces.map((piece) => piece.length)).toEqual([1, 1, 2, 1, 1]);
  });

  it('do not fail for one that contradicts itself, nor for one that is cancelled', async () => {
    const { together, open } = togetherBackend();
    const run = together.runTogether!;
    together.runTogether = (laps, take) =>
      laps.some(({ numRows }) => numRows === 30)
        ? Promise.reject(new KernelError('bad-lap', 'it has thirty rows'))
        : run(laps, take);
    runner.setBackend(together);
    const laps = [makeLap(1, [0]), makeLap(1, [1]), makeLap(2, [1], 30), makeLap(2, [0]), makeLap(1, [2])];
    const answers = laps.map((lap) => asker.ask(lap, 5));
    await links.a.send(encodeCancel({ lapId: 2 }));
    await arrived();
    const opening = setInterval(open, 1);
    const [first, , third, ...rest] = answers;
    expect((await third!).refusal).toBe('bad-frame');
    for (const answer of [first!, ...rest]) expect((await answer).combine).toBeDefined();
    clearInterval(opening);
    // One of the two refused is `arrived`.
    expect(runner.counters).toMatchObject({ laps: 3, refused: 2, cancelled: 1 });
  });

  it('in int8 are answered in int8', async () => {
    const lap = makeLap(1, [0, 2], 2);
    const frame = encodeDispatch({ lapId: 77, epoch: 5, hiddenSize: SHAPE.hiddenSize, rowFormat: 'int8', ...lap });
    links.a.onFrame = undefined;
    const answer = new Promise<Uint8Array>((resolve) => (links.a.onFrame = resolve));
    await links.a.send(frame);
    const { partial } = await reference.run({ ...lap, ...itemRows('int8', decodeF16(lap.rows), SHAPE.hiddenSize) });
    const expected = { numRows: 2, hiddenSize: SHAPE.hiddenSize, rowFormat: 'int8' } as const;
    expect(decodeCombine(await answer, expected).partial).toEqual(roundedRows('int8', partial, SHAPE.hiddenSize));
  });
});

describe('malformed frames', () => {
  it('are refused where a lap can be told, counted in any case, and do no further harm', async () => {
    const good = encodeDispatch({ lapId: 9, epoch: 5, hiddenSize: SHAPE.hiddenSize, ...makeLap(1, [0]) });
    expect((await asker.sendRaw(good.slice(0, -1), 9)).refusal).toBe('bad-frame');
    expect((await asker.sendRaw(encodeRefuse({ lapId: 10, reason: 'busy' }), 10)).refusal).toBe('bad-frame');
    const wide = makeLap(1, [0]);
    wide.rows = new Uint16Array(3 * 2 * SHAPE.hiddenSize);
    const otherModel = encodeDispatch({ lapId: 11, epoch: 5, hiddenSize: 2 * SHAPE.hiddenSize, ...wide });
    expect((await asker.sendRaw(otherModel, 11)).refusal).toBe('bad-frame');
    await links.a.send(new Uint8Array(3));
    await links.a.send(new Uint8Array(64).fill(255));
    const answer = await asker.ask(makeLap(1, [0]), 5);
    expect(answer.combine).toBeDefined();
    expect(runner.counters.malformed).toBe(5);
  });

  it('of any bytes at all', async () => {
    const base = encodeDispatch({ lapId: 1, epoch: 5, hiddenSize: SHAPE.hiddenSize, ...makeLap(1, [0]) });
    // Any change at any place, within the limits of a link.
    const mutation = tuple(nat(base.length - 1), nat(255), nat(base.length - 1));
    const sink = memoryLinkPair();
    runner.attach(sink.b);
    await assert(
      asyncProperty(mutation, async ([at, value, cut]) => {
        const frame = base.slice();
        frame[at] = value;
        await sink.a.send(value % 2 ? frame : frame.slice(0, cut + 1));
      }),
      { numRuns: 300 },
    );
    // Each frame is either run, refused, or not even a lap of anything (and then only counted).
    const accountedFor = () => {
      const { laps, refused, malformed } = runner.counters;
      return laps + refused + malformed;
    };
    await expect.poll(accountedFor).toBeGreaterThanOrEqual(300);
    await runner.drained();
    expect(sink.b.state).toBe('open');
  });
});

it('tells when its link has gone, and answers on the next one', async () => {
  links.wire.die('abrupt');
  await expect.poll(() => closed).toEqual([`${HOME} failed`]);
  const next = memoryLinkPair();
  runner.attach(next.b);
  expect((await new LapAsker(next.a).ask(makeLap(2, [1]), 5)).combine).toBeDefined();
});

describe('a share of the time', () => {
  it('has the runner rest between laps, answer all of them, and say how long they waited', async () => {
    let nowMs = 0;
    const due: { atMs: number; run: () => void }[] = [];
    const slow: ExpertBackend = Object.assign(Object.create(backend) as ExpertBackend, {
      runTogether: undefined,
      run: async (lap: WorkItem) => {
        nowMs += 200;
        return { ...(await backend.run(lap)), computeUs: 200_000 };
      },
    });
    runner.detachAll('closed');
    links = memoryLinkPair();
    runner = new ExpertRunner({
      holds: () => true,
      onLinkClosed: () => {},
      now: () => nowMs,
      later: (run, delayMs) => due.push({ atMs: nowMs + delayMs, run }),
    });
    runner.setBackend(slow);
    runner.epoch = 5;
    runner.share = 0.25;
    runner.attach(links.b);
    asker = new LapAsker(links.a);
    const asked = Array.from({ length: 20 }, () => asker.ask(makeLap(1, [0]), 5));
    let answered = 0;
    for (const answer of asked) void answer.then(() => answered++);
    while (answered < asked.length) {
      await turn();
      const next = due.shift();
      if (!next) continue;
      nowMs = Math.max(nowMs, next.atMs);
      next.run();
    }
    // 4 s of work take 16 s, less what 2 s allow in a row.
    expect(nowMs).toBeGreaterThan(13_000);
    expect(nowMs).toBeLessThan(17_000);
    const last = await asked.at(-1)!;
    expect(last.combine!.queueUs).toBeGreaterThan(10e6);
  });
});
