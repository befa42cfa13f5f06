import { frameLayout } from './layout.ts';

/** Coordinator → peer: the lap's answer is no longer needed. Consists of the prefix alone. */
export const cancelLayout = frameLayout('cancel', { header: {}, known: [], formats: 0, arrays: {} });

export interface CancelFrame {
  lapId: number;
}

export function encodeCancel({ lapId }: CancelFrame): Uint8Array<ArrayBuffer> {
  return cancelLayout.encode({ lapId });
}

/** Throws a FrameError unless `bytes` is one whole cancel. */
export function decodeCancel(bytes: Uint8Array): CancelFrame {
  return cancelLayout.decode(bytes, cancelLayout.decodeHeader(bytes));
}
