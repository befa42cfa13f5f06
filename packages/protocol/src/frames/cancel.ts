import { frameLayout } from './layout.ts';
import { frameTypes } from './types.ts';

/** Coordinator → peer: nobody waits for this lap any more. */
export const cancelLayout = frameLayout('cancel', frameTypes.cancel, {
  header: { reserved: 'u32' },
  arrays: {},
});

export interface CancelFrame {
  lapId: number;
}

export function encodeCancel({ lapId }: CancelFrame): Uint8Array<ArrayBuffer> {
  return cancelLayout.encode({ lapId });
}

/** Throws a FrameError unless `bytes` is one whole cancel. */
export function decodeCancel(bytes: Uint8Array): CancelFrame {
  return cancelLayout.decode(bytes);
}
