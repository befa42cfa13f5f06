import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { type Kysely, sql } from 'kysely';
import pg from 'pg';
import type { Database } from './database.ts';
import { Backoff } from './reach.ts';
import type { Tables } from './tables.ts';

/** From the first row that is added until it is written, together with those that come meanwhile. */
const WRITE_AFTER_MS = 1_000;
/** Rows and bytes in memory, those of the batch that is being written included: events of some minutes in the worst case. */
const MAX_ROWS = 20_000;
const MAX_BYTES = 16 * 1024 * 1024;
/** Rows of one transaction, which an embedded database computes in about 50 ms. */
const MAX_BATCH_ROWS = 500;
/** About what a merged counter takes. */
const COUNTER_BYTES = 200;
/** How long the end may wait for the last rows to be written. */
const CLOSE_TIMEOUT_MS = 3_000;

export type Transaction = Kysely<Tables>;

/** A kind of rows in the queue: how they are written, all in one statement where possible. */
export interface Book<Row> {
  /** In the metric of what was lost. */
  what: string;
  write: (db: Transaction, rows: readonly Row[]) => Promise<unknown>;
}

/** A kind of counters: additions to the same key become one. */
export interface CounterBook<Key extends object, Name extends string> extends Book<Key & Record<Name, number>> {
  /** Columns that tell the counters apart. */
  keys: readonly (keyof Key & string)[];
}

export interface WriteQueueOptions {
  /** Unique for each process. */
  writer?: string;
  /** A row that the database refuses for what is in it, or anything else that an operator should know. */
  onError?: (text: string) => void;
  /** Called after each batch that was written. */
  onBatch?: (tookMs: number, rows: number) => void;
  maxRows?: number;
  maxBytes?: number;
  writeAfterMs?: number;
}

interface Entry {
  book: Book<never>;
  row: never;
  bytes: number;
  /** Of a counter. */
  id?: string;
}

/** Its number is given when it is first written, and kept until its outcome is known. */
interface Batch {
  seq: number;
  entries: readonly Entry[];
}

/**
 * Writes what is to be kept, in batches, about once a second, and never makes anybody wait: `push` and `add` return at once. A
 * batch whose outcome is unknown is written again under its number, and the database takes each number once. While the database
 * is away the queue grows up to its bound; then the oldest rows are dropped and counted.
 */
export class WriteQueue {
  readonly #database: Database;
  readonly #options: Required<WriteQueueOptions>;
  readonly #backoff = new Backoff();
  /** In the order in which they came. Those of counters are changed in place until they are in a batch. */
  #waiting: Entry[] = [];
  #counters = new Map<string, Entry>();
  #current: Batch | undefined;
  /** Parts of a batch that was divided, to be written next. */
  #parts: (readonly Entry[])[] = [];
  #bytes = 0;
  #seq = 0;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<boolean> | undefined;
  #closed = false;
  readonly #lost = new Map<string, number>();

  constructor(database: Database, options: WriteQueueOptions = {}) {
    this.#database = database;
    this.#options = {
      writer: randomBytes(8).toString('hex'),
      onError: () => {},
      onBatch: () => {},
      maxRows: MAX_ROWS,
      maxBytes: MAX_BYTES,
      writeAfterMs: WRITE_AFTER_MS,
      ...options,
    };
  }

  /** Rows that are not written yet. */
  get rows(): number {
    const inParts = this.#parts.reduce((sum, { length }) => sum + length, 0);
    return (this.#current?.entries.length ?? 0) + inParts + this.#waiting.length;
  }

  /** Rows that were dropped since the start, by kind. */
  get lost(): ReadonlyMap<string, number> {
    return this.#lost;
  }

  /** Keeps rows of a kind. The returned function takes a row and never waits. */
  rowsOf<Row extends object>(book: Book<Row>): (row: Row) => void {
    return (row) => this.#push({ book, row, bytes: bytesOf(row) } as unknown as Entry);
  }

  /** Keeps counters of a kind. The returned function takes a key and what to add, and never waits. */
  countersOf<Key extends object, Name extends string>(
    book: CounterBook<Key, Name>,
  ): (key: Key, more: Readonly<Partial<Record<Name, number>>>) => void {
    return (key, more) => {
      const id = [book.what, ...book.keys.map((name) => key[name])].join('\0');
      const known = this.#counters.get(id);
      if (!known) {
        const entry = { book, row: { ...key, ...more }, bytes: COUNTER_BYTES, id } as unknown as Entry;
        this.#counters.set(id, entry);
        return this.#push(entry);
      }
      const row = known.row as Record<string, number>;
      for (const [name, value] of Object.entries(more) as [string, number][]) row[name] = (row[name] ?? 0) + value;
    };
  }

  /** Writes what is there now and what comes meanwhile, until the queue is empty or a batch cannot be written. Never rejects. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.rows > 0) if (!(await this.#writeOne())) break;
  }

  /** Writes the last rows, if that is possible within a deadline. What is left is counted as lost. */
  async close(timeoutMs = CLOSE_TIMEOUT_MS): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    const timeout = new AbortController();
    const untilMs = performance.now() + timeoutMs;
    const written = (async () => {
      while (this.rows > 0 && performance.now() < untilMs) {
        await this.flush();
        if (this.rows > 0) await delay(Math.min(this.#backoff.next(), untilMs - performance.now()));
      }
    })();
    await Promise.race([written, delay(timeoutMs, undefined, { signal: timeout.signal }).catch(() => {})]);
    timeout.abort();
    const left = [...(this.#current?.entries ?? []), ...this.#parts.flat(), ...this.#waiting];
    for (const { book } of left) this.#lose(book.what);
    if (left.length > 0)
      this.#options.onError(`${left.length} rows could not be written to the database before the end`);
    this.#current = undefined;
    this.#parts = [];
    this.#waiting = [];
    this.#counters.clear();
  }

  #push(entry: Entry): void {
    if (this.#closed) return this.#lose(entry.book.what);
    this.#waiting.push(entry);
    this.#bytes += entry.bytes;
    const { maxRows, maxBytes } = this.#options;
    while (this.#waiting.length > 0 && (this.rows > maxRows || this.#bytes > maxBytes)) this.#dropOldest();
    this.#writeLater(this.#options.writeAfterMs * (0.8 + Math.random() * 0.4));
  }

  /** Of those that wait: what is in a batch may have been written. */
  #dropOldest(): void {
    const dropped = this.#waiting.shift()!;
    this.#bytes -= dropped.bytes;
    if (dropped.id !== undefined) this.#counters.delete(dropped.id);
    this.#lose(dropped.book.what);
  }

  #lose(what: string): void {
    this.#lost.set(what, (this.#lost.get(what) ?? 0) + 1);
  }

  #writeLater(ms: number): void {
    if (this.#closed) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#writeOne();
    }, ms).unref();
  }

  /** Writes one batch, at most one at a time. Whether it was written, or got smaller. Never rejects. */
  #writeOne(): Promise<boolean> {
    return (this.#writing ??= this.#write().finally(() => (this.#writing = undefined)));
  }

  async #write(): Promise<boolean> {
    const batch = (this.#current ??= this.#nextBatch());
    const startMs = performance.now();
    try {
      await this.#writeBatch(batch);
    } catch (error) {
      const isDivided = isOfItsRows(error) && this.#current === batch;
      if (isDivided) this.#divide(batch, error);
      if (this.rows > 0) this.#writeLater(isDivided ? 0 : this.#backoff.next());
      return isDivided;
    }
    this.#backoff.reset();
    if (this.#current === batch) this.#done(batch);
    this.#options.onBatch(performance.now() - startMs, batch.entries.length);
    if (this.rows > 0) this.#writeLater(this.rows >= MAX_BATCH_ROWS ? 0 : this.#options.writeAfterMs);
    return true;
  }

  #nextBatch(): Batch {
    const entries = this.#parts.shift() ?? this.#waiting.splice(0, MAX_BATCH_ROWS);
    for (const { id } of entries) if (id !== undefined) this.#counters.delete(id);
    return { seq: ++this.#seq, entries };
  }

  async #writeBatch({ seq, entries }: Batch): Promise<void> {
    const { writer } = this.#options;
    const byBook = new Map<Book<never>, never[]>();
    for (const { book, row } of entries) {
      const rows = byBook.get(book) ?? [];
      rows.push(row);
      byBook.set(book, rows);
    }
    await this.#database.db.transaction().execute(async (db) => {
      const { rows } = await sql`
        insert into written_batches as known (writer, seq) values (${writer}, ${seq})
        on conflict (writer) do update set seq = excluded.seq, at = now() where known.seq < excluded.seq
        returning seq`.execute(db);
      // Written before, and its answer was lost.
      if (rows.length === 0) return;
      for (const [book, itsRows] of byBook) await book.write(db, itsRows);
    });
  }

  #done({ entries }: Batch): void {
    this.#current = undefined;
    for (const { bytes } of entries) this.#bytes -= bytes;
  }

  /** Finds the row that the database refuses, by halves, so that it takes no other with it. None of the batch was written. */
  #divide(batch: Batch, error: unknown): void {
    const { entries } = batch;
    if (entries.length === 1) {
      this.#done(batch);
      const { what } = entries[0]!.book;
      this.#lose(what);
      this.#options.onError(`The database refuses a row of ${what} (${(error as Error).message})`);
      return;
    }
    this.#current = undefined;
    const middle = Math.ceil(entries.length / 2);
    this.#parts.unshift(entries.slice(0, middle), entries.slice(middle));
  }
}

/** Errors of classes 22 (data) and 23 (constraints) stay, however often the rows are written. */
function isOfItsRows(error: unknown): boolean {
  return error instanceof pg.DatabaseError && /^2[23]/.test(error.code ?? '');
}

/** Roughly, as UTF-16. */
function bytesOf(row: object): number {
  let bytes = 100;
  for (const value of Object.values(row)) bytes += typeof value === 'string' ? 2 * value.length : 16;
  return bytes;
}
