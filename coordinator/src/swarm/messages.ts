import type { Dismissed, PeerView, RestReason } from '@shoal/protocol';
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

/** The end of a visit for which no one is to blame. */
export const PLANNED_ENDS: ReadonlySet<Dismissed['code']> = new Set(['finished', 'replaced', 'draining']);

/** To a tab whose link ended for the reason `protocol`. */
export const LINK_MISUSED =
  'The tab sent data that breaks the protocol, or more than it was asked for. Reload the page.';
export const SHUTTING_DOWN = 'The coordinator is shutting down. Try again in a minute.';
export const MADE_ROOM = 'The swarm is full, and this tab made room for another. It comes back when there is room.';
export const MADE_WAY =
  'Many tabs of this network are joining, and this one had no WebRTC connection in time. It comes back by itself.';

/** `removed`: the page does not come back by itself. */
export const TOO_MANY_TESTS: Dismissed = {
  code: 'removed',
  message: 'The tab lost its GPU, or interrupted the test of its experts, too often within ten minutes.',
  retry: false,
};
export const TOO_MANY_INTENTS: Dismissed = {
  code: 'removed',
  message: 'The tab was paused and resumed too often within a minute.',
  retry: false,
};

export const FINISHED: Dismissed = { code: 'finished', message: 'All done. Thank you.', retry: false };
export const TOO_MANY_PROMISES: Dismissed = {
  code: 'removed',
  message: 'The tab changed its limits too often within a minute.',
  retry: false,
};

const REST_TEXTS: Readonly<Record<RestReason, string>> = {
  schedule: 'its hours are over',
  'traffic-day': 'it has used its traffic of the day',
  'traffic-month': 'it has used its traffic of the month',
  mains: 'its computer runs on battery',
  battery: 'its computer’s battery is low',
  'in-use': 'somebody uses its computer',
  'other-program': 'another program needs its GPU',
};

/** For the event log, after "rests": ` until 2026-01-05 09:30 UTC, by its donor's limits: its hours are over`. */
export function restText({ why, untilMs }: NonNullable<PeerView['rest']>): string {
  return `${untilMs === undefined ? '' : ` until ${minute(untilMs)}`}, by its donor’s limits: ${REST_TEXTS[why]}`;
}

/** Message to a donor whose last visits were of no use. */
export function rejoinText(waitMs: number): string {
  const wait = waitMs < 120_000 ? `${Math.ceil(waitMs / 1000)} s` : `${Math.ceil(waitMs / 60_000)} minutes`;
  return `Earlier visits from this browser or network failed again and again. Try again in ${wait}.`;
}

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
