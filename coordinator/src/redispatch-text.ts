import type { LapErrorReason, RedispatchEvent } from './laps/lap.ts';

/** The event log's words for why a lap failed. Other reasons are used as they are. */
const FAILURES: Partial<Record<LapErrorReason, string>> = {
  closed: 'vanished',
  busy: 'was busy',
  deadline: 'was late',
  wrong: 'gave a wrong result',
};

/** Event-log text for a lap that failed and went elsewhere. */
export function redispatchText({ peerId, layer, rows, error, to, tookMs }: RedispatchEvent): string {
  const heirs = to.map((heir) => heir ?? 'the coordinator').join(' and ');
  const what = FAILURES[error.reason] ?? error.reason;
  return `${peerId} ${what} during layer ${layer}; ${rows} ${rows === 1 ? 'row' : 'rows'} went to ${heirs} in ${Math.round(tookMs)} ms`;
}
