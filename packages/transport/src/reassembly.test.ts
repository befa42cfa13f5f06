import { MAX_FRAME_BYTES, MIN_FRAGMENT_PAYLOAD_BYTES } from '@shoal/protocol';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Fragment, MAX_FRAGMENTS_PER_FRAME } from './fragment.ts';
import { MAX_PARTIAL_FRAMES, Reassembly } from './reassembly.ts';

function fragment(frameId: number, index: number, count: number, payloadBytes: number): Fragment {
  return { kind: 'fragment', frameId, index, count, payload: new Uint8Array(payloadBytes).fill(index + 1) };
}

describe('reassembly', () => {
  it('puts fragments of any one size together in any order', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1030, maxLength: 9000 }),
        fc.integer({ min: MIN_FRAGMENT_PAYLOAD_BYTES, max: 1029 }),
        fc.array(fc.nat(), { minLength: 10, maxLength: 10 }),
        (frame, payloadBytes, order) => {
          const count = Math.ceil(frame.byteLength / payloadBytes);
          const pieces = Array.from({ length: count }, (_, index): Fragment => {
            const payload = frame.subarray(index * payloadBytes, (index + 1) * payloadBytes);
            return { kind: 'fragment', frameId: 1, index, count, payload };
          });
          pieces.sort((a, b) => order[a.index]! - order[b.index]!);
          const reassembly = new Reassembly();
          const results = pieces.map((piece) => reassembly.add(piece, 0));
          expect(results.slice(0, -1).every((result) => result === undefined)).toBe(true);
          expect(results.at(-1)).toEqual(frame);
          expect(reassembly.partialBytes).toBe(0);
        },
      ),
    );
  });

  it('hands a whole frame on as it is, once', () => {
    const reassembly = new Reassembly();
    const payload = new Uint8Array(5);
    expect(reassembly.add({ kind: 'frame', frameId: 1, payload }, 0)).toBe(payload);
    expect(reassembly.add({ kind: 'frame', frameId: 1, payload }, 0)).toBeUndefined();
  });

  it('takes frames up to its limit to the byte, cut or whole', () => {
    const limit = 5000;
    const take = (...messages: Parameters<Reassembly['add']>[0][]) => {
      const reassembly = new Reassembly(limit);
      return messages.map((message) => reassembly.add(message, 0)).at(-1);
    };
    const whole = (bytes: number) => ({ kind: 'frame' as const, frameId: 1, payload: new Uint8Array(bytes) });
    expect(take(whole(limit))).toHaveLength(limit);
    expect(take(whole(limit + 1))).toBe('invalid');
    expect(take(fragment(1, 0, 2, 4000), fragment(1, 1, 2, 1000))).toHaveLength(limit);
    expect(take(fragment(1, 0, 2, 4000), fragment(1, 1, 2, 1001))).toBe('invalid');
    expect(take(fragment(1, 1, 2, 1001), fragment(1, 0, 2, 4000))).toBe('invalid');
    // What the first fragment says is enough, whichever it is.
    expect(take(fragment(1, 0, 6, 1000))).toBe('invalid');
    expect(take(fragment(1, 5, 6, 1))).toBe('invalid');
    expect(take(fragment(1, 2, 3, 2000))).toBe('invalid');
  });

  it('keeps a bounded number of bytes and of pieces of frames that are never finished, in the smallest fragments', () => {
    const reassembly = new Reassembly();
    const maxBytes = 5 * MAX_FRAME_BYTES;
    const payload = new Uint8Array(MIN_FRAGMENT_PAYLOAD_BYTES);
    const results = new Set<unknown>();
    let [mostBytes, mostFrames] = [0, 0];
    // The largest frames in the smallest pieces, each but for its last piece.
    for (let frameId = 0; frameId < 30; frameId++) {
      for (let index = 0; index < MAX_FRAGMENTS_PER_FRAME - 1; index++) {
        results.add(reassembly.add({ ...fragment(frameId, index, MAX_FRAGMENTS_PER_FRAME, 0), payload }, 0));
      }
      mostBytes = Math.max(mostBytes, reassembly.partialBytes);
      mostFrames = Math.max(mostFrames, reassembly.partialFrames);
    }
    expect([...results]).toEqual([undefined]);
    expect(mostBytes).toBeGreaterThan(maxBytes / 2);
    expect(mostBytes).toBeLessThanOrEqual(maxBytes);
    expect(mostFrames).toBeLessThanOrEqual(MAX_PARTIAL_FRAMES);
    expect(reassembly.lost).toBe(30 - reassembly.partialFrames);
  });

  it('keeps no more than 64 frames of which one byte came', () => {
    const reassembly = new Reassembly();
    for (let frameId = 0; frameId < 1000; frameId++) reassembly.add(fragment(frameId, 1, 2, 1), 0);
    expect(reassembly.partialFrames).toBe(MAX_PARTIAL_FRAMES);
    expect(reassembly.partialBytes).toBe(MAX_PARTIAL_FRAMES);
    expect(reassembly.lost).toBe(1000 - MAX_PARTIAL_FRAMES);
  });
});
