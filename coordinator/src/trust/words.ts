import type { Wrong } from './trust.ts';

/** For the event log. */
export function foundOutText(peerId: string, wrong: Wrong): string {
  return `${peerId} gave ${wrong.what}${uncheckedText(wrong)}. It is kept out until ${clock(wrong.untilMs)}`;
}

/** The same, of another tab of the donor that was found out. */
export function expelledText(peerId: string, trust: Pick<Wrong, 'usedRows' | 'uncheckedRows'>): string {
  return `${peerId} is of the same donor and is kept out with it${uncheckedText(trust)}`;
}

/** For a donor that is sent away or not let in. */
export function bannedText(untilMs: number): string {
  return `Results from this browser or network were wrong. It may come back after ${clock(untilMs)}.`;
}

function uncheckedText({ usedRows, uncheckedRows }: Pick<Wrong, 'usedRows' | 'uncheckedRows'>): string {
  if (usedRows === 0) return ', before any was used';
  const count = uncheckedRows === 0 ? 'none' : String(uncheckedRows);
  return `; ${count} of its rows since its last good audit ${uncheckedRows === 1 ? 'was' : 'were'} not checked`;
}

/** e.g. `2026-01-05 09:30 UTC`, rounded up: at the minute named, it is over. */
function clock(ms: number): string {
  return `${new Date(ms + 59_999).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}
