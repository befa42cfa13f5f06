import { MAX_FRAME_BYTES, MAX_MESSAGE_BYTES, MIN_FRAGMENT_PAYLOAD_BYTES } from '@shoal/protocol';
import { describe, expect, it } from 'vitest';
import { cutOf } from './cut.ts';
import { FRAGMENT_HEADER_BYTES } from './fragment.ts';

/** As both implementations cut a message into packets: 1,156 and 1,160 B, and on a path of less. */
const PACKETS = [1150, 1156, 1160];
const LARGE_BYTES = 256 * 1024;

const packetsOf = (payloadBytes: number, packetBytes: number): number =>
  Math.ceil((payloadBytes + FRAGMENT_HEADER_BYTES) / packetBytes);

/** Every size around where something changes, and some in between. */
function* sizes(): Generator<number> {
  for (let bytes = 0; bytes < 40_000; bytes++) yield bytes;
  for (let bytes = 40_000; bytes < MAX_FRAME_BYTES; bytes += 997) yield bytes;
  yield* [LARGE_BYTES, LARGE_BYTES + 1, MAX_FRAME_BYTES];
}

describe('cutOf', () => {
  it('leaves whole what Chrome sends in one burst', () => {
    expect([0, 1, 4596].map((bytes) => cutOf(bytes).count)).toEqual([1, 1, 1]);
    expect(cutOf(4597).count).toBe(3);
  });

  it('cuts all else so that every fragment is an even number of packets, in messages that the other side takes', () => {
    const wrong: unknown[] = [];
    for (const bytes of sizes()) {
      const { count, payloadBytes } = cutOf(bytes);
      if (count === 1) continue;
      const last = bytes - (count - 1) * payloadBytes;
      const allowed =
        payloadBytes >= MIN_FRAGMENT_PAYLOAD_BYTES &&
        payloadBytes + FRAGMENT_HEADER_BYTES <= MAX_MESSAGE_BYTES &&
        last >= 1 &&
        last <= payloadBytes;
      const expected = bytes > LARGE_BYTES ? 14 : 2;
      const even = PACKETS.every((each) => [payloadBytes, last].every((part) => packetsOf(part, each) === expected));
      if (!allowed || !even) wrong.push({ bytes, count, payloadBytes, last });
    }
    expect(wrong).toEqual([]);
  });
});
