import { MAX_FRAGMENT_BYTES, MAX_FRAME_BYTES } from '@shoal/protocol';

/**
 * What one message on the lap channel is. First word (u32, little-endian): kind in the low byte, and above it 24 bits that are
 * the frame's id, or the ping's. Second word, in fragments only: index (u16) and count (u16). PROTOCOL.md has it in hex.
 */
export const messageKinds = { fragment: 1, ping: 2, pong: 3, goodbye: 4 } as const;

/** Eight, so that a frame behind it still lies on an 8-byte boundary and its arrays are viewed without a copy. */
export const FRAGMENT_HEADER_BYTES = 8;
export const SIGNAL_MESSAGE_BYTES = 4;
export const FRAGMENT_PAYLOAD_BYTES = MAX_FRAGMENT_BYTES - FRAGMENT_HEADER_BYTES;
export const MAX_FRAGMENTS_PER_FRAME = Math.ceil(MAX_FRAME_BYTES / FRAGMENT_PAYLOAD_BYTES);
/** Ids wrap around after 16 million frames: long after anything of the earlier one is gone. */
export const ID_MASK = 0xff_ffff;

export interface Fragment {
  kind: 'fragment';
  frameId: number;
  index: number;
  count: number;
  payload: Uint8Array;
}
export type LapMessage = Fragment | { kind: 'ping' | 'pong'; id: number } | { kind: 'goodbye' };

/** How many messages a frame of that size takes; an empty one takes one as well. */
export function fragmentCount(frameBytes: number): number {
  return Math.max(1, Math.ceil(frameBytes / FRAGMENT_PAYLOAD_BYTES));
}

/** Writes fragment `index` of `frame` into `target` (MAX_FRAGMENT_BYTES) and returns the part to send. */
export function writeFragment(
  target: Uint8Array<ArrayBuffer>,
  frame: Uint8Array,
  frameId: number,
  index: number,
): Uint8Array<ArrayBuffer> {
  const start = index * FRAGMENT_PAYLOAD_BYTES;
  const payload = frame.subarray(start, start + FRAGMENT_PAYLOAD_BYTES);
  const view = new DataView(target.buffer, target.byteOffset);
  view.setUint32(0, ((frameId & ID_MASK) << 8) | messageKinds.fragment, true);
  view.setUint16(4, index, true);
  view.setUint16(6, fragmentCount(frame.byteLength), true);
  target.set(payload, FRAGMENT_HEADER_BYTES);
  return target.subarray(0, FRAGMENT_HEADER_BYTES + payload.byteLength);
}

export function writeSignal(kind: 'ping' | 'pong' | 'goodbye', id = 0): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(SIGNAL_MESSAGE_BYTES);
  new DataView(bytes.buffer).setUint32(0, ((id & ID_MASK) << 8) | messageKinds[kind], true);
  return bytes;
}

/**
 * Reads what a stranger sent: undefined unless it is a well-formed message. Every fragment but the last must be full, so that
 * a count says how large the frame is to within one fragment. The payload is a view.
 */
export function readMessage(data: unknown): LapMessage | undefined {
  const bytes = bytesOf(data);
  if (bytes === undefined || bytes.byteLength < SIGNAL_MESSAGE_BYTES || bytes.byteLength > MAX_FRAGMENT_BYTES) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = view.getUint32(0, true);
  const kind = word & 0xff;
  const id = word >>> 8;
  if (kind === messageKinds.fragment) return readFragment(bytes, view, id);
  if (bytes.byteLength !== SIGNAL_MESSAGE_BYTES) return;
  if (kind === messageKinds.ping) return { kind: 'ping', id };
  if (kind === messageKinds.pong) return { kind: 'pong', id };
  return kind === messageKinds.goodbye && id === 0 ? { kind: 'goodbye' } : undefined;
}

function readFragment(bytes: Uint8Array, view: DataView, frameId: number): Fragment | undefined {
  if (bytes.byteLength < FRAGMENT_HEADER_BYTES) return;
  const index = view.getUint16(4, true);
  const count = view.getUint16(6, true);
  const payload = bytes.subarray(FRAGMENT_HEADER_BYTES);
  if (count < 1 || count > MAX_FRAGMENTS_PER_FRAME || index >= count) return;
  const isLast = index === count - 1;
  if (!isLast && payload.byteLength !== FRAGMENT_PAYLOAD_BYTES) return;
  if (isLast && count > 1 && payload.byteLength === 0) return;
  if (isLast && index * FRAGMENT_PAYLOAD_BYTES + payload.byteLength > MAX_FRAME_BYTES) return;
  return { kind: 'fragment', frameId, index, count, payload };
}

function bytesOf(data: unknown): Uint8Array | undefined {
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return undefined;
}
