import { MAX_FRAME_BYTES, MAX_MESSAGE_BYTES, MIN_FRAGMENT_PAYLOAD_BYTES } from '@shoal/protocol';

/**
 * Kinds of messages on the lap channel. First word (u32, little-endian): the kind in the low byte, the id of the frame or ping in
 * the other 24 bits. Second word, in fragments only: index (u16) and count (u16). PROTOCOL.md has examples in hex.
 */
export const messageKinds = { frame: 1, fragment: 2, ping: 3, pong: 4, goodbye: 5 } as const;

/** Header of whole frames and signals: 4 bytes, so that the frame after it stays aligned to 4 and is viewed without a copy. */
export const MESSAGE_HEADER_BYTES = 4;
export const FRAGMENT_HEADER_BYTES = 8;
/** The largest frame that is one message. */
export const MAX_WHOLE_FRAME_BYTES = MAX_MESSAGE_BYTES - MESSAGE_HEADER_BYTES;
export const MAX_FRAGMENT_PAYLOAD_BYTES = MAX_MESSAGE_BYTES - FRAGMENT_HEADER_BYTES;
export const MAX_FRAGMENTS_PER_FRAME = Math.ceil(MAX_FRAME_BYTES / MIN_FRAGMENT_PAYLOAD_BYTES);
/** Ids wrap around after 16 million frames, long after the earlier frame is forgotten. */
export const ID_MASK = 0xff_ffff;

/** A frame in one message. The payload is a view. */
export interface WholeFrame {
  kind: 'frame';
  frameId: number;
  payload: Uint8Array;
}

/** A piece of a frame that takes several messages. All but the last have the same length, chosen by the sender. */
export interface Fragment {
  kind: 'fragment';
  frameId: number;
  index: number;
  /** At least 2. */
  count: number;
  payload: Uint8Array;
}
export type FrameMessage = WholeFrame | Fragment;
export type LapMessage = FrameMessage | { kind: 'ping' | 'pong'; id: number } | { kind: 'goodbye' };

/** Number of fragments of `payloadBytes` in a frame that is longer than one fragment. */
export function fragmentCount(frameBytes: number, payloadBytes: number): number {
  return Math.ceil(frameBytes / payloadBytes);
}

/** Writes a frame of at most MAX_WHOLE_FRAME_BYTES into `target` (MAX_MESSAGE_BYTES) and returns the view to send. */
export function writeFrame(
  target: Uint8Array<ArrayBuffer>,
  frame: Uint8Array,
  frameId: number,
): Uint8Array<ArrayBuffer> {
  writeFirstWord(target, 'frame', frameId);
  target.set(frame, MESSAGE_HEADER_BYTES);
  return target.subarray(0, MESSAGE_HEADER_BYTES + frame.byteLength);
}

/**
 * Writes fragment `index` of a frame cut into pieces of `payloadBytes` (MIN_FRAGMENT_PAYLOAD_BYTES to
 * MAX_FRAGMENT_PAYLOAD_BYTES, less than the frame's length) into `target` (MAX_MESSAGE_BYTES) and returns the view to send.
 */
export function writeFragment(
  target: Uint8Array<ArrayBuffer>,
  frame: Uint8Array,
  frameId: number,
  index: number,
  payloadBytes: number,
): Uint8Array<ArrayBuffer> {
  const start = index * payloadBytes;
  const payload = frame.subarray(start, start + payloadBytes);
  const view = writeFirstWord(target, 'fragment', frameId);
  view.setUint16(4, index, true);
  view.setUint16(6, fragmentCount(frame.byteLength, payloadBytes), true);
  target.set(payload, FRAGMENT_HEADER_BYTES);
  return target.subarray(0, FRAGMENT_HEADER_BYTES + payload.byteLength);
}

export function writeSignal(kind: 'ping' | 'pong' | 'goodbye', id = 0): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(MESSAGE_HEADER_BYTES);
  writeFirstWord(bytes, kind, id);
  return bytes;
}

function writeFirstWord(target: Uint8Array<ArrayBuffer>, kind: keyof typeof messageKinds, id: number): DataView {
  const view = new DataView(target.buffer, target.byteOffset);
  view.setUint32(0, ((id & ID_MASK) << 8) | messageKinds[kind], true);
  return view;
}

/** Parses an untrusted message; undefined unless it is well-formed. The payload is a view. */
export function readMessage(data: unknown): LapMessage | undefined {
  const bytes = bytesOf(data);
  if (bytes === undefined || bytes.byteLength < MESSAGE_HEADER_BYTES || bytes.byteLength > MAX_MESSAGE_BYTES) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = view.getUint32(0, true);
  const kind = word & 0xff;
  const id = word >>> 8;
  if (kind === messageKinds.frame) return { kind: 'frame', frameId: id, payload: bytes.subarray(MESSAGE_HEADER_BYTES) };
  if (kind === messageKinds.fragment) return readFragment(bytes, view, id);
  if (bytes.byteLength !== MESSAGE_HEADER_BYTES) return;
  if (kind === messageKinds.ping) return { kind: 'ping', id };
  if (kind === messageKinds.pong) return { kind: 'pong', id };
  return kind === messageKinds.goodbye && id === 0 ? { kind: 'goodbye' } : undefined;
}

function readFragment(bytes: Uint8Array, view: DataView, frameId: number): Fragment | undefined {
  if (bytes.byteLength <= FRAGMENT_HEADER_BYTES) return;
  const index = view.getUint16(4, true);
  const count = view.getUint16(6, true);
  if (count < 2 || count > MAX_FRAGMENTS_PER_FRAME || index >= count) return;
  const fragment: Fragment = {
    kind: 'fragment',
    frameId,
    index,
    count,
    payload: bytes.subarray(FRAGMENT_HEADER_BYTES),
  };
  return isLast(fragment) || fragment.payload.byteLength >= MIN_FRAGMENT_PAYLOAD_BYTES ? fragment : undefined;
}

export function isLast({ index, count }: Fragment): boolean {
  return index === count - 1;
}

/** Length of the smallest frame that can contain this fragment. From the last fragment we know only that the others are no shorter. */
export function leastFrameBytes(fragment: Fragment): number {
  const { count, payload } = fragment;
  if (!isLast(fragment)) return (count - 1) * payload.byteLength + 1;
  return (count - 1) * Math.max(payload.byteLength, MIN_FRAGMENT_PAYLOAD_BYTES) + payload.byteLength;
}

function bytesOf(data: unknown): Uint8Array | undefined {
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return undefined;
}
