import type { ConsoleEvent } from '@shoal/protocol';

/** About a day of a busy swarm; the coordinator's log has older ones. */
export const EVENTS_KEPT = 5_000;

export interface EventFilter {
  level: ConsoleEvent['level'] | 'all';
  kind: ConsoleEvent['kind'] | 'all';
  text: string;
}

/**
 * Merges new events into the known ones, oldest first. Events are identified by time and `seq` together, since a reconnection
 * sends the backlog again and a restarted coordinator restarts `seq`.
 */
export function mergeEvents(known: readonly ConsoleEvent[], news: readonly ConsoleEvent[]): ConsoleEvent[] {
  const byKey = new Map(known.map((event) => [`${event.timeMs}:${event.seq}`, event]));
  for (const event of news) byKey.set(`${event.timeMs}:${event.seq}`, event);
  return [...byKey.values()].sort((a, b) => a.timeMs - b.timeMs || a.seq - b.seq).slice(-EVENTS_KEPT);
}

export function filterEvents(events: readonly ConsoleEvent[], filter: EventFilter): ConsoleEvent[] {
  const words = filter.text.trim().toLowerCase();
  return events.filter(
    (event) =>
      (filter.level === 'all' || event.level === filter.level) &&
      (filter.kind === 'all' || event.kind === filter.kind) &&
      (words === '' || `${event.text} ${event.peerId ?? ''}`.toLowerCase().includes(words)),
  );
}

const columns = ['seq', 'time', 'level', 'kind', 'peerId', 'text'] as const;

/** CSV as in RFC 4180: CRLF line ends, a header line, quotes doubled. */
export function eventsToCsv(events: readonly ConsoleEvent[]): string {
  const rows = events.map(({ seq, timeMs, level, kind, peerId = '', text }) =>
    [String(seq), new Date(timeMs).toISOString(), level, kind, peerId, text].map(csvCell),
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
