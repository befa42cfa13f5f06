import {
  decodeCancel,
  decodeCombine,
  decodeDispatch,
  decodeRefuse,
  FrameError,
  type FrameErrorReason,
  peekFrame,
} from '../index.ts';
import { fixtureBytes, fixtures } from './fixtures.ts';

export const decoders: Record<string, (bytes: Uint8Array) => unknown> = {
  peek: peekFrame,
  dispatch: (bytes) => decodeDispatch(bytes, { hiddenSize: 3 }),
  'dispatch-int8': (bytes) => decodeDispatch(bytes, { hiddenSize: 3 }),
  'dispatch-wide': (bytes) => decodeDispatch(bytes, { hiddenSize: 2 }),
  'dispatch-large': (bytes) => decodeDispatch(bytes, { hiddenSize: 3 }),
  'dispatch-large-int8': (bytes) => decodeDispatch(bytes, { hiddenSize: 3 }),
  'dispatch-adapters': (bytes) => decodeDispatch(bytes, { hiddenSize: 3 }),
  combine: (bytes) => decodeCombine(bytes, { hiddenSize: 3, numRows: 1 }),
  'combine-int8': (bytes) => decodeCombine(bytes, { hiddenSize: 3, numRows: 1, rowFormat: 'int8' }),
  'combine-large': (bytes) => decodeCombine(bytes, { hiddenSize: 3, numRows: 2 }),
  'combine-large-int8': (bytes) => decodeCombine(bytes, { hiddenSize: 3, numRows: 2, rowFormat: 'int8' }),
  refuse: decodeRefuse,
  cancel: decodeCancel,
};

/** The reason of the FrameError; anything else that is thrown fails the test, and nothing thrown is `decoded`. */
export function outcome(run: () => unknown): FrameErrorReason | 'decoded' {
  try {
    run();
    return 'decoded';
  } catch (error) {
    if (error instanceof FrameError) return error.reason;
    throw error;
  }
}

export type Edit = (bytes: Uint8Array, view: DataView) => Uint8Array | void;

/** A fixture's bytes after an edit, decoded. */
export function hostile(name: keyof typeof fixtures, edit: Edit): FrameErrorReason | 'decoded' {
  const bytes = fixtureBytes(fixtures[name]);
  const edited = edit(bytes, new DataView(bytes.buffer)) ?? bytes;
  return outcome(() => decoders[name]!(edited));
}

export const u16 =
  (at: number, value: number): Edit =>
  (_, view) =>
    view.setUint16(at, value, true);
/** The frame's first byte. */
export const kind =
  (value: number): Edit =>
  (bytes) =>
    void (bytes[0] = value);
export const f32 =
  (at: number, value: number): Edit =>
  (_, view) =>
    view.setFloat32(at, value, true);
export const append: Edit = (bytes) => Uint8Array.of(...bytes, 0);
