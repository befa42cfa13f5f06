import * as fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { decodeRefuse, encodeRefuse, MAX_FRAME_BYTES } from '@shoal/protocol';
import { FramedChannel, memoryChannelPair, memoryLinkPair, type MemoryDeath, writeFragment } from '@shoal/transport';
import { closeReason, collect, patterned, sameBytes, until } from './transport-suite.ts';

const largeBytes = 100_000;

describe('a wire that loses messages', () => {
  it('delivers whole frames or nothing, and counts what it gave up', async () => {
    let nowMs = 0;
    const { a, b } = memoryLinkPair({ seed: 3, aToB: { loss: 0.01 }, bLink: { now: () => nowMs } });
    const received: Uint8Array[] = [];
    b.onFrame = (frame) => received.push(frame);
    const numFrames = 60;
    for (let i = 0; i < numFrames; i++) await a.send(patterned(largeBytes, i));
    await until(() => b.stats().bytesReceived > 0.9 * numFrames * largeBytes);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(received.length).toBeGreaterThan(10);
    expect(received.length).toBeLessThan(numFrames);
    expect(received.every((frame) => frame.byteLength === largeBytes)).toBe(true);
    // Old incomplete frames are dropped at the next message.
    nowMs = 60_000;
    await a.send(Uint8Array.of(1));
    await until(() => b.stats().lost > 0 || b.stats().framesReceived > received.length);
    expect(b.stats().lost).toBe(numFrames - received.filter((frame) => frame.byteLength === largeBytes).length);
  });

  it('holds a bounded amount of unfinished frames', async () => {
    const { a, b } = memoryChannelPair();
    const link = new FramedChannel(b);
    // First fragments of 3,000 frames of two: 48 MB if all were kept.
    for (let id = 0; id < 3000; id++) {
      const fragment = new Uint8Array(16 * 1024);
      new DataView(fragment.buffer).setUint32(0, (id << 8) | 2, true);
      fragment[6] = 2;
      a.send(fragment);
      if (id % 100 === 0) await new Promise(setImmediate);
    }
    await until(() => link.stats().bytesReceived === 3000 * 16 * 1024);
    expect(link.state).toBe('open');
    // 1,024 may be unfinished at once; all others were dropped.
    expect(link.stats().lost).toBe(3000 - 1024);
  });
});

describe('a link that knows its model', () => {
  it('takes frames up to its limit, and closes with protocol at the first fragment of a longer one', async () => {
    const { a, b } = memoryLinkPair({ bLink: { maxFrameBytes: largeBytes } });
    const received = collect(b, 1);
    await a.send(patterned(largeBytes, 1));
    await received;
    const reason = closeReason(b);
    await a.send(patterned(2 * largeBytes, 1)).catch(() => {});
    expect(await reason).toBe('protocol');
    expect(b.stats().bytesReceived).toBeLessThan(2 * largeBytes);
  });
});

describe('a wire that corrupts messages', () => {
  it('never throws: a frame arrives, changed or not, or the link closes with protocol', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const { a, b } = memoryLinkPair({ seed, aToB: { corruption: 0.3 } });
      let reason: string | undefined;
      b.onClose = (why) => (reason = why);
      b.onFrame = (frame) => decodeRefuse(frame);
      for (let i = 0; i < 20 && a.state === 'open'; i++) {
        await a.send(encodeRefuse({ lapId: i, reason: 'stale-epoch' })).catch(() => {});
      }
      await until(() => b.state === 'closed' || b.stats().framesReceived > 0);
      expect([undefined, 'protocol', 'goodbye']).toContain(reason);
      a.close();
    }
  });

  it('closes with protocol when the listener finds a frame to be none', async () => {
    const { a, b } = memoryLinkPair();
    const reason = closeReason(b);
    b.onFrame = (frame) => decodeRefuse(frame);
    await a.send(patterned(100, 1));
    expect(await reason).toBe('protocol');
  });
});

describe('a wire that repeats and reorders messages', () => {
  it('delivers every frame once', async () => {
    const aToB = { duplication: 0.5, reordering: 0.3, jitterMs: 3 };
    const { a, b } = memoryLinkPair({ seed: 9, aToB });
    const sizes = Array.from({ length: 100 }, (_, i) => 1 + ((i * 997) % 50_000));
    const received = collect(b, sizes.length);
    await Promise.all(sizes.map((size, i) => a.send(patterned(size, i))));
    const frames = await received;
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(b.stats()).toMatchObject({ framesReceived: sizes.length, lost: 0 });
    for (const frame of frames) {
      expect(sameBytes(frame, patterned(frame.byteLength, sizes.indexOf(frame.byteLength)))).toBe(true);
    }
  });
});

describe('a wire of a limited rate', () => {
  it('makes send wait, and keeps the buffer below its mark', async () => {
    const { a, b, wire } = memoryLinkPair({ aToB: { bytesPerSecond: 20_000_000 } });
    const received = collect(b, 40);
    let largest = 0;
    for (let i = 0; i < 40; i++) {
      await a.send(patterned(largeBytes, i));
      largest = Math.max(largest, wire.a.bufferedAmount);
    }
    await received;
    expect(largest).toBeLessThanOrEqual(256 * 1024 + 16 * 1024);
  });
});

describe('death', () => {
  it.each<[MemoryDeath, string, string]>([
    ['polite', 'remote-closed', 'remote-closed'],
    ['abrupt', 'failed', 'failed'],
    ['black-hole', 'heartbeat', 'heartbeat'],
  ])('%s: the ends see %s and %s, and what waits is rejected', async (how, atA, atB) => {
    const options = { heartbeatMs: 20 };
    const { a, b, wire } = memoryLinkPair({ aLink: options, bLink: options, aToB: { bytesPerSecond: 1e6 } });
    const reasons = Promise.all([closeReason(a), closeReason(b)]);
    const waiting = a.send(patterned(MAX_FRAME_BYTES, 1));
    const rejected = expect(waiting).rejects.toMatchObject({ name: 'TransportError', reason: 'closed' });
    wire.die(how);
    await rejected;
    expect(await reasons).toEqual([atA, atB]);
  });

  it('faults may begin while frames are under way', async () => {
    const { a, b, wire } = memoryLinkPair();
    const first = collect(b, 1);
    await a.send(patterned(10, 1));
    await first;
    wire.aToB.loss = 1;
    await a.send(patterned(10, 2));
    await until(() => wire.a.bufferedAmount === 0);
    wire.aToB.loss = 0;
    const third = collect(b, 1);
    await a.send(patterned(10, 3));
    expect(sameBytes((await third)[0]!, patterned(10, 3))).toBe(true);
    expect(b.stats().framesReceived).toBe(2);
  });
});

describe('a link whose other side only answers', () => {
  const floods: Record<string, (id: number) => Uint8Array<ArrayBuffer>> = {
    pings: (id) => Uint8Array.of(3, id, id >> 8, 0),
    pongs: (id) => Uint8Array.of(4, id, id >> 8, 0),
    fragments: (id) => writeFragment(new Uint8Array(16 * 1024), new Uint8Array(1025), id, 0, 1024),
    frames: (id) => Uint8Array.of(1, id, id >> 8, 128, 42),
  };

  it.each(
    Object.keys(floods).flatMap((kind): [string, number][] => [
      [kind, 0],
      [kind, 200],
    ]),
  )('is closed by a flood of %s that begins after %d answers, after few of them', async (kind, laps) => {
    const { a, b, wire } = memoryLinkPair({ aLink: { onlyAnswers: true } });
    b.onFrame = (frame) => void b.send(frame.slice());
    for (let lap = 0; lap < laps; lap++) {
      const answered = collect(a, 1);
      await a.send(patterned(lap % 2 === 0 ? 400 : 100_000, lap));
      await answered;
    }
    const { bytesReceived } = a.stats();
    const reason = closeReason(a);
    for (let id = 0; id < 20_000 && wire.b.readyState === 'open'; id++) {
      wire.b.send(floods[kind]!(id));
      if (id % 100 === 0) await new Promise(setImmediate);
    }
    expect(await reason).toBe('protocol');
    expect((a.stats().bytesReceived - bytesReceived) / floods[kind]!(0).length).toBeLessThan(1_000);
  });

  it('takes answers of any number and size, and each message twice', async () => {
    const bytes = 200_000;
    const { a, b } = memoryLinkPair({ aLink: { onlyAnswers: true }, bToA: { duplication: 1 } });
    b.onFrame = (frame) => void b.send(frame.slice());
    for (let round = 0; round < 40; round++) {
      const answers = collect(a, 4);
      for (const size of [10, 5_000, bytes, 300]) await a.send(patterned(size, size));
      expect((await answers).map((frame) => frame.length).toSorted((x, y) => x - y)).toEqual([10, 300, 5_000, bytes]);
    }
    expect(a.state).toBe('open');
  });
});

describe('heartbeats', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it('measure the round trip, from one side, the other only answering', async () => {
    const delay = { delayMs: 20 };
    const { a, b } = memoryLinkPair({ aToB: delay, bToA: delay, aLink: { heartbeatMs: 100 } });
    await until(() => a.stats().rttMs !== undefined);
    expect(a.stats().rttMs).toBeGreaterThanOrEqual(39);
    expect(b.stats().rttMs).toBeUndefined();
    a.close();
  });

  it('forgive two in a row, not three', async () => {
    vi.useFakeTimers();
    const { a, wire } = memoryLinkPair({ aLink: { heartbeatMs: 1000 } });
    const closed = vi.fn();
    a.onClose = closed;
    wire.bToA.loss = 1;
    await vi.advanceTimersByTimeAsync(2500);
    expect(closed).not.toHaveBeenCalled();
    wire.bToA.loss = 0;
    await vi.advanceTimersByTimeAsync(5000);
    expect(closed).not.toHaveBeenCalled();
    wire.bToA.loss = 1;
    await vi.advanceTimersByTimeAsync(4500);
    expect(closed).toHaveBeenCalledWith('heartbeat');
  });

  it('count no silence in which their own process was blocked', async () => {
    vi.useFakeTimers();
    let blockedMs = 0;
    const now = (): number => performance.now() + blockedMs;
    const { a, wire } = memoryLinkPair({ aLink: { heartbeatMs: 1000, now } });
    const closed = vi.fn();
    a.onClose = closed;
    wire.bToA.loss = 1;
    await vi.advanceTimersByTimeAsync(2500);
    blockedMs = 30_000;
    await vi.advanceTimersByTimeAsync(2000);
    expect(closed).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1000);
    expect(closed).toHaveBeenCalledWith('heartbeat');
  });

  it('count any message as a sign of life', async () => {
    vi.useFakeTimers();
    const { a, wire } = memoryLinkPair({ aLink: { heartbeatMs: 1000 } });
    // The other side sends frames and answers no ping.
    wire.aToB.loss = 1;
    for (let i = 0; i < 10; i++) {
      wire.b.send(Uint8Array.from([1, i, 0, 0, 42]));
      await vi.advanceTimersByTimeAsync(1000);
    }
    expect(a.state).toBe('open');
    expect(a.stats().framesReceived).toBe(10);
    a.close();
  });

  it('answer a flood of pings no further than the buffer allows', async () => {
    const { a, b } = memoryChannelPair({ bToA: { bytesPerSecond: 1 } });
    const link = new FramedChannel(b);
    for (let i = 0; i < 100_000; i++) a.send(Uint8Array.from([3, i & 255, (i >> 8) & 255, (i >> 16) & 255]));
    await until(() => link.stats().bytesReceived === 400_000);
    expect(b.bufferedAmount).toBeLessThanOrEqual(256 * 1024 + 4);
    link.close();
  });
});

describe('a link', () => {
  it('queues frames until its channel opens, and says if it never will', async () => {
    const { a, b } = memoryChannelPair();
    a.close();
    await until(() => a.readyState === 'closed');
    const late = new FramedChannel(a);
    expect(await closeReason(late)).toBe('remote-closed');
    b.close();
  });

  it('survives anything at all on its channel', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 40 }), { minLength: 1, maxLength: 8 }), async (messages) => {
        const { a, b } = memoryChannelPair();
        const link = new FramedChannel(b);
        for (const message of messages) a.send(new Uint8Array(message));
        await new Promise(setImmediate);
        await new Promise(setImmediate);
        await new Promise(setImmediate);
        link.close();
      }),
      { numRuns: 500 },
    );
  });

  it('lets a listener’s own bug through instead of hiding it', () => {
    const listeners: ((event: { data: unknown }) => void)[] = [];
    const channel = {
      readyState: 'open' as const,
      bufferedAmount: 0,
      binaryType: 'arraybuffer',
      send: () => {},
      close: () => {},
      addEventListener: (type: string, listener: (event: { data: unknown }) => void) => {
        if (type === 'message') listeners.push(listener);
      },
      removeEventListener: () => {},
    };
    const link = new FramedChannel(channel);
    link.onFrame = () => {
      throw new RangeError('a bug');
    };
    const data = Uint8Array.from([1, 0, 0, 0, 42]).buffer;
    expect(() => listeners[0]!({ data })).toThrow('a bug');
  });
});
