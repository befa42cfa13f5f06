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
import { TableReader } from '../database/reader.ts';
import type { Access } from './access.ts';
import type { AccessBook, Imported } from './access-book.ts';
import type { AccessFile } from './access-file.ts';
import { ACCESS_CHANNEL, DatabaseBook, readAccess } from './database-book.ts';

/** Keeps the rules in memory as they are in the database, whichever program changes them there. */
export class StoredAccess {
  readonly #database: Database;
  readonly #access: Access;
  readonly #flush: (() => Promise<unknown>) | undefined;
  #view: AccessView | undefined;
  #reader: TableReader | undefined;

  private constructor(database: Database, access: Access, flush?: () => Promise<unknown>) {
    this.#database = database;
    this.#access = access;
    this.#flush = flush;
  }

  /**
   * Reads the rules, and from then on whenever they change. Rejects where the database does not answer. `flush` is as for
   * `DatabaseBook`.
   */
  static async open(database: Database, access: Access, flush?: () => Promise<unknown>): Promise<StoredAccess> {
    const stored = new StoredAccess(database, access, flush);
    const onAway = (): unknown => access.events.emit('view');
    stored.#reader = await TableReader.open({ database, channel: ACCESS_CHANNEL, read: () => stored.#read(), onAway });
    return stored;
  }

  /** As of the last reading. */
  get view(): AccessView {
    const { away = null } = this.#reader ?? {};
    const { inviteOnly } = this.#access.policy;
    const view = this.#view!;
    return { ...view, away, rules: { ...view.rules, swarm: inviteOnly ? 'invited' : 'open' } };
  }

  /** The books as this coordinator keeps them: what is changed here applies here when the change is answered. */
  book(by: string): AccessBook {
    return new RefreshedBook(new DatabaseBook(this.#database, by, this.#flush), this);
  }

  /** Resolves once the rules are in force that are in the database now. Never rejects. */
  async refresh(): Promise<void> {
    await this.#reader?.refresh();
  }

  async close(): Promise<void> {
    await this.#reader?.close();
  }

  async #read(): Promise<void> {
    const { policy, view } = await readAccess(this.#database);
    const isFirst = this.#view === undefined;
    const isOther = !isFirst && JSON.stringify(view) !== JSON.stringify(this.#view);
    this.#view = view;
    if (this.#reader?.isClosed) return;
    this.#access.replace(policy, isFirst ? 'The rules of access in the database' : 'The rules of access were changed');
    if (isOther) this.#access.events.emit('view');
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
