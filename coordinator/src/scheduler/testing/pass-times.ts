import type { PassTimes } from '../batch/pass-costs.ts';

/** A pass beside which no other was in flight, whose engine worked all the time. */
export function aloneInFlight({ rows, promptRows, ms }: { rows: number; promptRows: number; ms: number }): PassTimes {
  return { rows, promptRows, passMs: ms, shareMs: ms, meanRows: rows, turnMs: ms, engineMs: ms, waitedMs: 0 };
}
