import type { Sequence } from '../sequence.ts';
import type { DrafterStream } from './drafter-stream.ts';

/** So many tokens after drafts were last wanted, what would be missing in the cache is not worth computing. */
const REST_TOKENS = 32;
/** After this many failed calls in a row, a sequence's drafts come from texts for so many tokens; twice as many each further time. */
const MAX_FAILURES = 3;
const FIRST_PAUSE = 16;
const LAST_PAUSE = 512;

/** Has the sequence go on without the engine for good. */
export function giveUp(stream: DrafterStream): void {
  stream.isGivenUp = true;
  stream.pending = [];
}

/** Counts a call that gave a sequence nothing. After some, it goes on without for a while: what holds the experts may come back. */
export function failed({ ids }: Sequence, stream: DrafterStream): void {
  stream.failures++;
  if (stream.failures < MAX_FAILURES) return;
  stream.pausedUntil = ids.length + Math.min(LAST_PAUSE, FIRST_PAUSE * 2 ** (stream.failures - MAX_FAILURES));
}

export function isPaused({ ids }: Sequence, { pausedUntil }: DrafterStream): boolean {
  return ids.length < pausedUntil;
}

/** Whether so long no drafts have been wanted that there is little to be expected of keeping the cache complete. */
export function isResting({ state, ids, request }: Sequence, { wantedAt, isIdle }: DrafterStream): boolean {
  return isIdle || (state === 'decode' && ids.length - Math.max(wantedAt, request.promptIds.length) > REST_TOKENS);
}
