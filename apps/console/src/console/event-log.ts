import type { ConsoleEvent } from '@shoal/protocol';

/** About a day of a busy swarm; the coordinator's log has older ones. */
export const EVENTS_KEPT = 5_000;

export interface EventFilter {
  level: ConsoleEvent['level'] | 'all';
  kind: ConsoleEvent['kind'] | 'all';
  text: string;
}

/**
 * Merges new events into the known ones, oldest first. A reconnection sends the backlog again, perhaps from another coordinator,
 * which numbers events of its own (`keyOf`).
 */
export function mergeEvents(known: readonly ConsoleEvent[], news: readonly ConsoleEvent[]): ConsoleEvent[] {
  const byKey = new Map(known.map((event) => [keyOf(event), event]));
  for (const event of news) byKey.set(keyOf(event), event);
  return [...byKey.values()].sort((a, b) => a.timeMs - b.timeMs || a.seq - b.seq).slice(-EVENTS_KEPT);
}

/** By time and `seq` together, since a restarted coordinator restarts `seq`; where there are several, by what they say. */
export function keyOf({ timeMs, seq, coordinator, text }: ConsoleEvent): string {
  return coordinator === undefined ? `${timeMs}:${seq}` : `${timeMs}:${coordinator}:${text}`;
}

export function filterEvents(events: readonly ConsoleEvent[], filter: EventFilter): ConsoleEvent[] {
  const words = filter.text.trim().toLowerCase();
  return events.filter(
    (event) =>
      (filter.level === 'all' || event.level === filter.level) &&
      (filter.kind === 'all' || event.kind === filter.kind) &&
      (words === '' || `${event.text} ${event.peerId ?? ''} ${event.coordinator ?? ''}`.toLowerCase().includes(words)),
  );
}

const columns = ['seq', 'time', 'level', 'kind', 'peerId', 'coordinator', 'text'] as const;

/** CSV as in RFC 4180: CRLF line ends, a header line, quotes doubled. */
export function eventsToCsv(events: readonly ConsoleEvent[]): string {
  const rows = events.map(({ seq, timeMs, level, kind, peerId = '', coordinator = '', text }) =>
    [String(seq), new Date(timeMs).toISOString(), level, kind, peerId, coordinator, text].map(csvCell),
  );
  return [columns.join(','), ...rows.map((row) => row.join(','))].join('\r\n') + '\r\n';
}

/** Quotes a cell. A donor's browser chooses some of the text, and spreadsheets run cells that begin like a formula. */
export function csvCell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function eventsToJson(events: readonly ConsoleEvent[]): string {
  return JSON.stringify(events, null, 2) + '\n';
}
