import { readPrefix } from './layout.ts';
import type { FrameType } from './types.ts';

/**
 * Reads a frame's type and lap id from its first four bytes, so that a late answer can be dropped before it is decoded. Throws a
 * FrameError if it cannot be one of our frames.
 */
export function peekFrame(bytes: Uint8Array): { type: FrameType; lapId: number } {
  const { type, lapId } = readPrefix(bytes);
  return { type, lapId };
}
