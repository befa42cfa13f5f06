import type { ConsoleEvent } from '@shoal/protocol';
import type { EventLog } from '../base/event-log.ts';
import type { Database, WriteQueue } from '../database/index.ts';
import { EVENTS } from './books.ts';

/** Fills an event log with the newest events of earlier processes, and writes those to come. Rejects if they cannot be read. */
export async function keepEvents(
  log: EventLog,
  database: Database,
  queue: WriteQueue,
  member: string,
): Promise<() => void> {
  const write = queue.rowsOf(EVENTS);
  const added = ({ seq, timeMs, level, kind, text, peerId, coordinator }: ConsoleEvent): void => {
    // What another coordinator has told, it has written.
    if (coordinator !== undefined) return;
    write({ at: new Date(timeMs), member, seq, level, kind, text: withoutZeros(text), peer_id: peerId ?? null });
  };
  for (const event of log.all()) added(event);
  log.restore(await readEvents(database, log.capacity, member));
  log.events.on('added', added);
  return () => log.events.off('added', added);
}

/** The newest events, oldest first. */
async function readEvents({ db }: Database, limit: number, own: string): Promise<ConsoleEvent[]> {
  const rows = await db.selectFrom('events').selectAll().orderBy('id', 'desc').limit(limit).execute();
  return rows.toReversed().map(({ seq, at, level, kind, text, peer_id: peerId, member }) => ({
    seq,
    timeMs: at.getTime(),
    level: level as ConsoleEvent['level'],
    kind: kind as ConsoleEvent['kind'],
    text,
    ...(peerId !== null && { peerId }),
    ...(member !== own && { coordinator: member }),
  }));
}

/** Postgres has no text with a zero byte, and a donor's browser chooses some of it. */
const withoutZeros = (text: string): string => text.replaceAll('\0', '');
