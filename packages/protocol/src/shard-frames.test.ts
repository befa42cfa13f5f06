import { expect, it } from 'vitest';
import { PART_BYTES } from './limits.ts';
import { decodeShardFrame, encodeShardFrame, MAX_SHARD_FRAME_BYTES, type ShardFrame } from './shard-frames.ts';

const sha256 = '0123456789abcdef'.repeat(4);
const frames: ShardFrame[] = [
  { kind: 'ask', id: 7, sha256 },
  { kind: 'part', id: 2 ** 32 - 1, index: 3, bytes: Uint8Array.of(1, 2, 3) },
  { kind: 'part', id: 0, index: 0, bytes: new Uint8Array(PART_BYTES) },
  { kind: 'refuse', id: 1 },
  { kind: 'stop', id: 1 },
];

it('reads what it has written', () => {
  for (const frame of frames) expect(decodeShardFrame(encodeShardFrame(frame))).toEqual(frame);
  expect(encodeShardFrame(frames[2]!).byteLength).toBe(MAX_SHARD_FRAME_BYTES);
  expect([...encodeShardFrame(frames[1]!)]).toEqual([1, 0, 0, 0, 255, 255, 255, 255, 3, 0, 0, 0, 1, 2, 3]);
});

it.each([
  ['an empty one', () => new Uint8Array(), 'truncated'],
  ['an unknown type', () => Uint8Array.of(4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 'bad-type'],
  ['padding', () => Uint8Array.of(3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 'bad-padding'],
  ['an index of what has none', () => Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0), 'bad-padding'],
  ['a part of nothing', () => Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 'bad-count'],
  [
    'a part that is too long',
    () => encodeShardFrame({ kind: 'part', id: 0, index: 0, bytes: new Uint8Array(PART_BYTES + 1) }),
    'bad-count',
  ],
  ['half a hash', () => encodeShardFrame(frames[0]!).subarray(0, 20), 'bad-count'],
])('refuses %s', (_, make, reason) => {
  expect(() => decodeShardFrame(make())).toThrow(expect.objectContaining({ reason }) as Error);
});
