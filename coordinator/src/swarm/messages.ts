import type { LinkCloseReason } from '@shoal/transport';
import type { Wrong } from '../trust/trust.ts';

/** The end of a link, as the event log says it after the tab's name. */
export const LINK_ENDS: Readonly<Record<LinkCloseReason, string>> = {
  heartbeat: 'stopped answering heartbeats',
  goodbye: 'said goodbye',
  protocol: 'sent data that breaks the protocol',
  failed: 'lost its connection',
  closed: 'vanished',
  'remote-closed': 'vanished',
};

export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(bytes < 2 ** 20 ? 2 : 0)} MiB`;
}

type UsedRows = Pick<Wrong, 'usedRows' | 'uncheckedRows'>;

/** Event-log text for a tab that gave wrong results. */
export function foundOutText(peerId: string, wrong: Wrong): string {
  return `${peerId} gave ${wrong.what}${uncheckedText(wrong)}. Its donor is quarantined until ${minute(wrong.untilMs)}`;
}

/** Event-log text for another tab of the same donor. */
export function expelledText(peerId: string, trust: UsedRows): string {
  return `${peerId} belongs to the same donor and is quarantined with it${uncheckedText(trust)}`;
}

/** Message to a quarantined donor. */
export function quarantinedText(untilMs: number): string {
  return `Results from this browser or network were wrong. You can join again after ${minute(untilMs)}.`;
}

function uncheckedText({ usedRows, uncheckedRows }: UsedRows): string {
  if (usedRows === 0) return ', before any was used';
  const count = uncheckedRows === 0 ? 'none' : String(uncheckedRows);
  return `; ${count} of its rows since its last good audit ${uncheckedRows === 1 ? 'was' : 'were'} not checked`;
}

/** For example `2026-01-05 09:30 UTC`. Rounded up, so that the wait is over at the minute named. */
function minute(ms: number): string {
  return `${new Date(ms + 59_999).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}
