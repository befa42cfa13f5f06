import { FrameError } from './frames/error.ts';
import { PART_BYTES } from './limits.ts';

/** Frames between two tabs, over a link like that of laps. All numbers are little-endian. */

const HEADER_BYTES = 12;
const HASH_BYTES = 32;
/** The largest frame. */
export const MAX_SHARD_FRAME_BYTES = HEADER_BYTES + PART_BYTES;

const KINDS = ['ask', 'part', 'refuse', 'stop'] as const;

/** `ask` names a shard; `part`s of it follow in any order, or a `refuse`. `stop`: the asker no longer wants it. */
export type ShardFrame =
  | { kind: 'ask'; id: number; sha256: string }
  | { kind: 'part'; id: number; index: number; bytes: Uint8Array }
  | { kind: 'refuse' | 'stop'; id: number };

/** [kind u8, 3 zeros, id u32, index u32, then the hash or the bytes]. */
export function encodeShardFrame(frame: ShardFrame): Uint8Array {
  const { kind, id } = frame;
  const tail = kind === 'ask' ? hexBytes(frame.sha256) : kind === 'part' ? frame.bytes : new Uint8Array();
  const bytes = new Uint8Array(HEADER_BYTES + tail.byteLength);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, KINDS.indexOf(kind));
  view.setUint32(4, id, true);
  view.setUint32(8, kind === 'part' ? frame.index : 0, true);
  bytes.set(tail, HEADER_BYTES);
  return bytes;
}

/** Throws a FrameError. A part's bytes are those of the frame. */
export function decodeShardFrame(frame: Uint8Array): ShardFrame {
  if (frame.byteLength < HEADER_BYTES) throw new FrameError('truncated', 'a shard frame has 12 bytes or more');
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const kind = KINDS[view.getUint8(0)];
  if (kind === undefined) throw new FrameError('bad-type', `there is no shard frame of type ${view.getUint8(0)}`);
  if (view.getUint32(0, true) >>> 8 !== 0) throw new FrameError('bad-padding', 'bytes 1 to 3 are not 0');
  const id = view.getUint32(4, true);
  const index = view.getUint32(8, true);
  const tail = frame.subarray(HEADER_BYTES);
  if (kind === 'part') {
    if (tail.byteLength === 0 || tail.byteLength > PART_BYTES)
      throw new FrameError('bad-count', 'a part has 1 to 65,536 bytes');
    return { kind, id, index, bytes: tail };
  }
  if (index !== 0) throw new FrameError('bad-padding', 'bytes 8 to 11 are not 0');
  if (tail.byteLength !== (kind === 'ask' ? HASH_BYTES : 0))
    throw new FrameError('bad-count', `a frame "${kind}" has another length`);
  if (kind !== 'ask') return { kind, id };
  return { kind, id, sha256: Array.from(tail, (byte) => byte.toString(16).padStart(2, '0')).join('') };
}

function hexBytes(hex: string): Uint8Array {
  return Uint8Array.from({ length: HASH_BYTES }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}
