import { readPrefix } from './layout.ts';
import type { FrameType } from './types.ts';

/**
 * Which frame this is and of which lap, from its first four bytes, so that a late answer can be dropped before it is decoded.
 * Throws a FrameError for what cannot be a frame of ours.
 */
export function peekFrame(bytes: Uint8Array): { type: FrameType; lapId: number } {
  const { type, lapId } = readPrefix(bytes);
  return { type, lapId };
}
