import { type Kysely, sql } from 'kysely';
import type { Database } from './database.ts';
import type { Tables } from './tables.ts';

/** How soon a failed reading is tried again, beside whenever the database is told to be back. */
const RETRY_MS = 5_000;

export interface TableReaderOptions {
  database: Database;
  /** Notified whenever a program changes what is read. */
  channel: string;
  /** Reads what there is now and takes it up. */
  read: () => Promise<void>;
  /** The database has become reachable or unreachable. */
  onAway?: (away: string | null) => void;
}

/** Changes tables in one transaction, with which all who read them (`TableReader`) are told. Rejects where nothing was changed. */
export function changeAndTell<T>(
  db: Kysely<Tables>,
  channel: string,
  change: (db: Kysely<Tables>) => Promise<T>,
): Promise<T> {
  return db.transaction().execute(async (transaction) => {
    const result = await change(transaction);
    await sql`select pg_notify(${channel}, '')`.execute(transaction);
    return result;
  });
}

/** What an admin is told whose change was rejected with this error. */
export const unchangedText = (error: unknown): string =>
  `The database did not answer, so nothing was changed (${(error as Error).message}). Try again.`;

/**
 * Keeps what is in memory as it is in the database, whichever program changes it there: reads it again whenever the channel is
 * notified. What was read before holds while the database is away.
 */
export class TableReader {
  /** Since when the database has been away, as an ISO time; null while it is there. */
  away: string | null = null;
  readonly #options: TableReaderOptions;
  readonly #stops: (() => unknown)[] = [];
  #reading: Promise<void> | undefined;
  /** Number of the latest wish to read, and of the latest that a reading was begun for and ended. */
  #asked = 0;
  #answered = 0;
  #retry: NodeJS.Timeout | undefined;
  #isClosed = false;

  private constructor(options: TableReaderOptions) {
    this.#options = options;
  }

  /** Reads once, and from then on at every change. Rejects where the database does not answer at first. */
  static async open(options: TableReaderOptions): Promise<TableReader> {
    const { database, channel, read, onAway } = options;
    await read();
    const reader = new TableReader(options);
    reader.#stops.push(await database.listen(channel, reader.#readSoon, reader.#readSoon));
    const tell = (away: string | null): void => {
      reader.away = away;
      onAway?.(away);
    };
    const onLost = (): void => tell(new Date().toISOString());
    const onBack = (): void => {
      tell(null);
      reader.#readSoon();
    };
    database.events.on('away', onLost).on('back', onBack);
    reader.#stops.push(() => database.events.off('away', onLost).off('back', onBack));
    // What changed before it listened.
    await reader.refresh();
    return reader;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Resolves once what is in the database now has been taken up. Never rejects. */
  async refresh(): Promise<void> {
    const asked = ++this.#asked;
    while (this.#answered < asked && !this.#isClosed) await (this.#reading ??= this.#read());
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#retry);
    for (const stop of this.#stops.splice(0)) await stop();
  }

  readonly #readSoon = (): void => void this.refresh();

  async #read(): Promise<void> {
    const asked = this.#asked;
    clearTimeout(this.#retry);
    try {
      await this.#options.read();
    } catch {
      // The database tells of itself that it is away; what was read stays until it is back.
      if (!this.#isClosed) this.#retry = setTimeout(this.#readSoon, RETRY_MS).unref();
    } finally {
      this.#answered = asked;
      this.#reading = undefined;
    }
  }
}
