import type { Database } from '../database/database.ts';
import type { Access } from './access.ts';
import type { ApiKeys } from './api-keys.ts';
import { usageReport } from './usage-report.ts';
import { today } from './usage-query.ts';

/** What other coordinators let a key use beyond its day's limit is at most what they write in this time. */
const READ_EVERY_MS = 10_000;

/**
 * Tells keys that have a limit a day what was written of them today: before this coordinator started, and by others. Resolves
 * with the call that stops.
 */
export async function followTodaysUsage(
  database: Pick<Database, 'db'>,
  access: Access,
  keys: ApiKeys,
): Promise<() => void> {
  let isReading = false;
  const read = async (): Promise<void> => {
    if (isReading || !keys.uses.some(({ key }) => key.tokensPerDay !== undefined)) return;
    isReading = true;
    try {
      const day = today();
      const { rows } = await usageReport(database.db, { from: day, to: day, by: 'key' });
      if (today() !== day) return;
      const tokens = new Map(rows.map((row) => [row.key, row.promptTokens + row.completionTokens]));
      for (const use of keys.uses) use.usedToday(tokens.get(use.key.name) ?? 0);
    } catch {
      // Its own count goes on, and the database tells of itself that it is away.
    } finally {
      isReading = false;
    }
  };
  const onChange = (): void => void read();
  const timer = setInterval(onChange, READ_EVERY_MS).unref();
  access.events.on('change', onChange);
  await read();
  return () => {
    clearInterval(timer);
    access.events.off('change', onChange);
  };
}
