import { FrameError } from './error.ts';
import { checkPrefix } from './layout.ts';
import { frameTypes, type FrameType } from './types.ts';

const typeOfCode = new Map(Object.entries(frameTypes).map(([type, code]) => [code as number, type as FrameType]));

/**
 * Which frame this is and of which lap, from its first eight bytes, so that a late answer can be dropped before it is decoded.
 * Throws a FrameError for what cannot be a frame of ours.
 */
export function peekFrame(bytes: Uint8Array): { type: FrameType; lapId: number } {
  const view = checkPrefix(bytes);
  const type = typeOfCode.get(view.getUint8(3));
  if (type === undefined) throw new FrameError('bad-type', `${view.getUint8(3)} is not a known type of frame.`);
  return { type, lapId: view.getUint32(4, true) };
}
