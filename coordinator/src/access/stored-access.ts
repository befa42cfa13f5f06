import type {
  AccessKind,
  AccessView,
  EntryChange,
  EntryViews,
  MadeEntry,
  NewEntry,
  RulesChange,
} from '@shoal/protocol';
import type { UsageQuery, UsageReport } from '@shoal/protocol';
import type { Database } from '../database/database.ts';
import type { Access } from './access.ts';
import type { AccessBook, Imported } from './access-book.ts';
import type { AccessFile } from './access-file.ts';
import { ACCESS_CHANNEL, DatabaseBook, readAccess } from './database-book.ts';

/** How soon a failed reading is tried again, beside whenever the database is told to be back. */
const RETRY_MS = 5_000;

/** Keeps the rules in memory as they are in the database, whichever program changes them there. */
export class StoredAccess {
  readonly #database: Database;
  readonly #access: Access;
  readonly #flush: (() => Promise<unknown>) | undefined;
  readonly #stops: (() => unknown)[] = [];
  #view: AccessView;
  #away: string | null = null;
  #reading: Promise<void> | undefined;
  /** Number of the latest wish to read, and of the latest that a reading was begun for and ended. */
  #asked = 0;
  #answered = 0;
  #retry: NodeJS.Timeout | undefined;
  #isClosed = false;

  private constructor(database: Database, access: Access, view: AccessView, flush?: () => Promise<unknown>) {
    this.#database = database;
    this.#access = access;
    this.#flush = flush;
    this.#view = view;
  }

  /**
   * Reads the rules, and from then on whenever they change. Rejects where the database does not answer. `flush` is as for
   * `DatabaseBook`.
   */
  static async open(database: Database, access: Access, flush?: () => Promise<unknown>): Promise<StoredAccess> {
    const { policy, view } = await readAccess(database);
    const stored = new StoredAccess(database, access, view, flush);
    access.replace(policy, `The rules of access in the database`);
    stored.#stops.push(await database.listen(ACCESS_CHANNEL, stored.#readSoon, stored.#readSoon));
    const onAway = (): void => {
      stored.#away = new Date().toISOString();
      access.events.emit('view');
    };
    const onBack = (): void => {
      stored.#away = null;
      access.events.emit('view');
      stored.#readSoon();
    };
    database.events.on('away', onAway).on('back', onBack);
    stored.#stops.push(() => database.events.off('away', onAway).off('back', onBack));
    // What changed before it listened.
    await stored.refresh();
    return stored;
  }

  /** As of the last reading. */
  get view(): AccessView {
    return { ...this.#view, away: this.#away };
  }

  /** The books as this coordinator keeps them: what is changed here applies here when the change is answered. */
  book(by: string): AccessBook {
    return new RefreshedBook(new DatabaseBook(this.#database, by, this.#flush), this);
  }

  /** Resolves once the rules are in force that are in the database now. Never rejects. */
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
      const { policy, view } = await readAccess(this.#database);
      const isOther = JSON.stringify(view) !== JSON.stringify(this.#view);
      this.#view = view;
      if (this.#isClosed) return;
      this.#access.replace(policy, 'The rules of access were changed');
      if (isOther) this.#access.events.emit('view');
    } catch {
      // The database tells of itself that it is away; the rules stay as they are until it is back.
      if (!this.#isClosed) this.#retry = setTimeout(this.#readSoon, RETRY_MS).unref();
    } finally {
      this.#answered = asked;
      this.#reading = undefined;
    }
  }
}

/** The books in the database, after whose changes this coordinator's own rules are read again. */
class RefreshedBook implements AccessBook {
  readonly #book: DatabaseBook;
  readonly #stored: StoredAccess;

  constructor(book: DatabaseBook, stored: StoredAccess) {
    this.#book = book;
    this.#stored = stored;
  }

  view(): Promise<AccessView> {
    return Promise.resolve(this.#stored.view);
  }

  add<Kind extends AccessKind>(kind: Kind, entry: NewEntry<Kind>): Promise<MadeEntry<Kind>> {
    return this.#then(this.#book.add(kind, entry));
  }

  change<Kind extends AccessKind>(kind: Kind, name: string, to: EntryChange<Kind>): Promise<EntryViews[Kind]> {
    return this.#then(this.#book.change(kind, name, to));
  }

  revoke<Kind extends AccessKind>(kind: Kind, name: string): Promise<EntryViews[Kind]> {
    return this.#then(this.#book.revoke(kind, name));
  }

  setRules(change: RulesChange): Promise<void> {
    return this.#then(this.#book.setRules(change));
  }

  import(file: AccessFile): Promise<Imported> {
    return this.#then(this.#book.import(file));
  }

  usage(query: UsageQuery): Promise<UsageReport> {
    return this.#book.usage(query);
  }

  async #then<T>(change: Promise<T>): Promise<T> {
    const result = await change;
    await this.#stored.refresh();
    return result;
  }
}
