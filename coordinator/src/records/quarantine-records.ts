import type { Database, WriteQueue } from '../database/index.ts';
import { type KeptEntry, MAX_ENTRIES, type Quarantine } from '../trust/quarantine.ts';
import type { Trust, Wrong } from '../trust/trust.ts';
import { FINDINGS, QUARANTINE } from './books.ts';

/** Takes up the quarantines that the database has, and writes each change at once. Rejects if they cannot be read. */
export async function keepQuarantine(quarantine: Quarantine, database: Database, queue: WriteQueue): Promise<void> {
  quarantine.restore(await readQuarantine(database));
  const write = queue.rowsOf(QUARANTINE);
  quarantine.onChange = (changed) => {
    for (const { key, failures, at, until } of changed)
      write({ key, failures, at: new Date(at), until: until === null ? null : new Date(until) });
    void queue.flush();
  };
}

/** The newest, oldest first. */
export async function readQuarantine({ db }: Database): Promise<KeptEntry[]> {
  const rows = await db.selectFrom('quarantine').selectAll().orderBy('at', 'desc').limit(MAX_ENTRIES).execute();
  return rows
    .toReversed()
    .map(({ at, until, ...entry }) => ({ ...entry, at: at.getTime(), until: until?.getTime() ?? null }));
}

/** Writes each wrong result that is confirmed. */
export function keepFindings(trust: Trust, queue: WriteQueue): () => void {
  const write = queue.rowsOf(FINDINGS);
  const found = (_peerId: string, { donorId, what, usedRows, uncheckedRows, untilMs }: Wrong): void => {
    const until = Number.isFinite(untilMs) ? new Date(untilMs) : null;
    const rows = { used_rows: usedRows, unchecked_rows: uncheckedRows };
    write({ at: new Date(), donor: donorId, what, ...rows, until });
    void queue.flush();
  };
  trust.events.on('wrong', found);
  return () => trust.events.off('wrong', found);
}
