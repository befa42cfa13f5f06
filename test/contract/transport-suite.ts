import { beforeEach, describe, expect, it } from 'vitest';
import { CONNECT_TIMEOUT_MS, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES } from '@shoal/protocol';
import {
  fragmentCount,
  HIGH_WATER_BYTES,
  type DataChannelLike,
  type FramedChannel,
  type LinkCloseReason,
  writeFragment,
  writeFrame,
} from '@shoal/transport';

/** Two connected links, and the channel beneath one of them. */
export interface TransportPair {
  a: FramedChannel;
  b: FramedChannel;
  /** The channel under `a`, to send what no FramedChannel would. */
  aChannel: DataChannelLike;
  dispose(): Promise<void> | void;
}

/**
 * What every transport must do. The same cases run over memory and over each WebRTC implementation, but for what a peer may send
 * that is no message: the channel's code for it is the same over all, so WebRTC, whose connections take long, shows two.
 */
export function describeTransport(
  name: string,
  makePair: () => Promise<TransportPair>,
  hostile: 'all' | 'shortest and longest' = 'all',
): void {
  describe(`transport: ${name}`, () => {
    let pair: TransportPair;
    beforeEach(async () => {
      pair = await makePair();
      return () => pair.dispose();
    }, CONNECT_TIMEOUT_MS);

    it('echoes frames of all sizes up to the largest', async () => {
      pair.b.onFrame = (received) => void pair.b.send(received);
      for (const sizeBytes of [1, 16 * 1024, 100 * 1024, MAX_FRAME_BYTES]) {
        const frame = patterned(sizeBytes, 7);
        const answers = collect(pair.a, 1);
        await pair.a.send(frame);
        const [answer] = await answers;
        expect(sameBytes(answer!, frame), `${sizeBytes} B`).toBe(true);
      }
    });

    it('puts together frames cut into pieces of any size', async () => {
      for (const [id, payloadBytes] of [1024, 1150, 3333, 16_376].entries()) {
        const frame = patterned(20_000, 3);
        const received = collect(pair.b, 1);
        const count = fragmentCount(frame.byteLength, payloadBytes);
        for (let index = count - 1; index >= 0; index--) {
          pair.aChannel.send(writeFragment(new Uint8Array(MAX_MESSAGE_BYTES), frame, id, index, payloadBytes));
        }
        expect(sameBytes((await received)[0]!, frame), `pieces of ${payloadBytes} B`).toBe(true);
      }
    });

    it.each([
      ['largest frame that is sent whole', 4596, 4600],
      ['smallest that is cut', 4597, 4597 + 3 * 8],
    ])('sends the %s as such', async (_, frameBytes, wireBytes) => {
      const received = collect(pair.b, 1);
      await pair.a.send(patterned(frameBytes, 1));
      expect(sameBytes((await received)[0]!, patterned(frameBytes, 1))).toBe(true);
      expect(pair.b.stats().bytesReceived).toBe(wireBytes);
    });

    it('takes the largest frame that one message may be', async () => {
      const received = collect(pair.b, 1);
      pair.aChannel.send(writeFrame(new Uint8Array(MAX_MESSAGE_BYTES), patterned(16_380, 1), 1));
      expect(sameBytes((await received)[0]!, patterned(16_380, 1))).toBe(true);
    });

    it('delivers frames whose arrays can be viewed without a copy', async () => {
      const received = collect(pair.b, 1);
      await pair.a.send(patterned(4096, 1));
      expect((await received)[0]!.byteOffset % 4).toBe(0);
    });

    it('carries many frames of mixed sizes both ways at once', async () => {
      const sizes = Array.from({ length: 120 }, (_, i) => 1 + ((i * 7919) % 60_000));
      const atB = collect(pair.b, sizes.length);
      const atA = collect(pair.a, sizes.length);
      await Promise.all(sizes.flatMap((size, i) => [pair.a.send(patterned(size, i)), pair.b.send(patterned(size, i))]));
      for (const frames of [await atB, await atA]) {
        // Frames may overtake each other; what counts is that each arrives whole, once.
        const seen = frames.map((frame) => frame.byteLength).sort((x, y) => x - y);
        expect(seen).toEqual([...sizes].sort((x, y) => x - y));
        for (const frame of frames) {
          const seed = sizes.indexOf(frame.byteLength);
          expect(sameBytes(frame, patterned(frame.byteLength, seed))).toBe(true);
        }
      }
    });

    it('lets a small frame overtake a large one', async () => {
      const order: number[] = [];
      const done = collect(pair.b, 2, (frame) => order.push(frame.byteLength));
      await Promise.all([pair.a.send(patterned(MAX_FRAME_BYTES, 1)), pair.a.send(patterned(100, 2))]);
      await done;
      expect(order).toEqual([100, MAX_FRAME_BYTES]);
    });

    it('moves 20 MB without loss and without filling the buffer', async () => {
      const frameBytes = 100_000;
      const numFrames = 200;
      const received = collect(pair.b, numFrames);
      let largestBuffer = 0;
      for (let i = 0; i < numFrames; i++) {
        await pair.a.send(patterned(frameBytes, i));
        largestBuffer = Math.max(largestBuffer, pair.aChannel.bufferedAmount);
      }
      const frames = await received;
      expect(frames.every((frame) => frame.byteLength === frameBytes)).toBe(true);
      expect(largestBuffer).toBeLessThanOrEqual(HIGH_WATER_BYTES + 16 * 1024);
      expect(pair.b.stats()).toMatchObject({ framesReceived: numFrames, lost: 0 });
      expect(pair.b.stats().bytesReceived).toBeGreaterThan(frameBytes * numFrames);
    });

    it('refuses a frame over the limit, and stays open', async () => {
      const frame = new Uint8Array(MAX_FRAME_BYTES + 1);
      await expect(pair.a.send(frame)).rejects.toMatchObject({ name: 'TransportError', reason: 'too-large' });
      expect(pair.a.state).toBe('open');
    });

    it('refuses more than its queue holds, and delivers what it took', async () => {
      const received: Uint8Array[] = [];
      pair.b.onFrame = (frame) => received.push(frame);
      const results = await Promise.allSettled(
        Array.from({ length: 8 }, (_, i) => pair.a.send(patterned(MAX_FRAME_BYTES, i))),
      );
      const taken = results.filter((result) => result.status === 'fulfilled').length;
      const refused = results.filter((result) => result.status === 'rejected');
      expect(taken).toBeGreaterThan(0);
      expect(refused.length).toBeGreaterThan(0);
      for (const { reason } of refused) expect(reason).toMatchObject({ reason: 'queue-full' });
      await until(() => received.length === taken);
    });

    it.each<[LinkCloseReason, LinkCloseReason]>([
      ['closed', 'remote-closed'],
      ['goodbye', 'goodbye'],
    ])('tells a close (%s) to the other side, whichever side closes', async (reason, expected) => {
      const local = closeReason(pair.a);
      const remote = closeReason(pair.b);
      pair.a.close(reason);
      expect(await local).toBe(reason);
      expect(await remote).toBe(expected);
      await expect(pair.a.send(Uint8Array.of(1))).rejects.toMatchObject({ reason: 'closed' });
      await expect(pair.b.send(Uint8Array.of(1))).rejects.toMatchObject({ reason: 'closed' });
    });

    it('tells a close of the other side as well', async () => {
      const remote = closeReason(pair.a);
      pair.b.close();
      expect(await remote).toBe('remote-closed');
    });

    it.each(hostile === 'all' ? hostileMessages() : hostileMessages().filter(([, [first]]) => isOfExtremeSize(first!)))(
      'closes only the link on %s',
      async (_, message) => {
        const remote = closeReason(pair.b);
        const frames: Uint8Array[] = [];
        pair.b.onFrame = (frame) => frames.push(frame);
        for (const bytes of message) pair.aChannel.send(bytes);
        expect(await remote).toBe('protocol');
        expect(frames).toEqual([]);
      },
    );
  });
}

/** Too short for a header, or longer than a message may be. */
const isOfExtremeSize = ({ byteLength }: Uint8Array): boolean => byteLength < 4 || byteLength > MAX_MESSAGE_BYTES;

function hostileMessages(): [string, Uint8Array<ArrayBuffer>[]][] {
  /** Fragment `index` of `count` of frame 5. */
  const fragment = (index: number, count: number, payloadBytes: number): Uint8Array<ArrayBuffer> => {
    const bytes = new Uint8Array(8 + payloadBytes);
    bytes.set([2, 5, 0, 0, index & 255, index >> 8, count & 255, count >> 8]);
    return bytes;
  };
  const wholeFrame5 = Uint8Array.of(1, 5, 0, 0, 42);
  return [
    ['a message too short for any header', [Uint8Array.of(1, 0, 0)]],
    ['an unknown kind', [Uint8Array.of(9, 0, 0, 0)]],
    ['a fragment without its second word', [Uint8Array.of(2, 0, 0, 0, 0, 0)]],
    ['a count of 0', [fragment(0, 0, 1)]],
    ['a fragment that is a whole frame', [fragment(0, 1, 1)]],
    ['an index beyond its count', [fragment(2, 2, 1)]],
    ['a count beyond the largest frame', [fragment(0, 65_535, 1024)]],
    ['a count beyond the largest frame of such fragments', [fragment(0, 514, 16_376)]],
    ['a last fragment beyond the largest frame', [fragment(8191, 8192, 1025)]],
    ['a fragment of less than the least that is not the last', [fragment(0, 2, 1023)]],
    ['a last fragment that is empty', [fragment(1, 2, 0)]],
    ['two fragments that disagree on the count', [fragment(0, 3, 16_376), fragment(1, 4, 16_376)]],
    ['two fragments that disagree on their size', [fragment(0, 3, 2048), fragment(1, 3, 2049)]],
    ['a repeated last fragment of another size', [fragment(2, 3, 10), fragment(2, 3, 11)]],
    ['a last fragment longer than another', [fragment(0, 3, 2048), fragment(2, 3, 2049)]],
    ['a fragment shorter than the last', [fragment(2, 3, 2049), fragment(0, 3, 2048)]],
    ['a whole frame of which there is a fragment', [fragment(0, 2, 1024), wholeFrame5]],
    ['a message longer than messages may be', [new Uint8Array(16 * 1024 + 1).fill(1, 0, 1)]],
    ['a ping with something behind it', [Uint8Array.of(3, 0, 0, 0, 0)]],
    ['a goodbye with an id', [Uint8Array.of(5, 1, 0, 0)]],
  ];
}

/** Bytes that differ by position and by seed, so that a swapped or repeated fragment shows. */
export function patterned(sizeBytes: number, seed: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(sizeBytes);
  for (let i = 0; i < sizeBytes; i++) bytes[i] = (i * 31 + (i >>> 8) * 17 + seed * 101) & 0xff;
  return bytes;
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(b);
}

/** Resolves with the next `count` frames of a link; rejects if it closes before. */
export function collect(
  link: FramedChannel,
  count: number,
  onFrame?: (frame: Uint8Array) => void,
): Promise<Uint8Array[]> {
  return new Promise((resolve, reject) => {
    const frames: Uint8Array[] = [];
    link.onClose = (reason) =>
      reject(new Error(`The link closed (${reason}) after ${frames.length} of ${count} frames.`));
    link.onFrame = (frame) => {
      onFrame?.(frame);
      frames.push(frame);
      if (frames.length === count) resolve(frames);
    };
  });
}

export function closeReason(link: FramedChannel): Promise<LinkCloseReason> {
  return new Promise((resolve) => {
    link.onClose = resolve;
  });
}

export function openChannels(link: FramedChannel): number {
  return link.channels.filter(({ readyState }) => readyState === 'open').length;
}

/** Tries again where libdatachannel at both ends fails, as it does now and then on a busy machine. */
export async function connected<T>(connect: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await connect();
    } catch (error) {
      if (attempt === 3 || !String(error).includes('without ICE transport')) throw error;
    }
  }
}

/** Waits for a condition; the test's own timeout is the deadline. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}
