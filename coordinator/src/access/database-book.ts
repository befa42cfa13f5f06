import {
  ACCESS_KINDS,
  type AccessKind,
  type AccessView,
  type EntryChange,
  type EntryViews,
  type MadeEntry,
  MAX_ACCESS_ENTRIES,
  type NewEntry,
  type RulesChange,
  rulesChangeSchema,
  type UsageQuery,
  type UsageReport,
} from '@shoal/protocol';
import { type Kysely, sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { changeAndTell, unchangedText } from '../database/reader.ts';
import type { Tables } from '../database/tables.ts';
import { type AccessBook, AccessError, aNoun, type Imported } from './access-book.ts';
import type { AccessFile } from './access-file.ts';
import { changed, entryOf, type EntryRow, viewOf } from './entries.ts';
import { type AccessPolicy, FIRST_ADMIN, policyOf, rulesView } from './policy.ts';
import { digestOf, newToken } from './token.ts';
import { usageReport } from './usage-report.ts';

/** Told whenever the rules in the database have changed. */
export const ACCESS_CHANNEL = 'shoal_access';
/** The name of the rules among the settings. */
const RULES = 'access';
/** Entries of all kinds, revoked ones included. */
const MAX_ROWS = 10_000;

/** The rules in the database: as requests ask for them, and as operators see them. */
export async function readAccess({ db }: Pick<Database, 'db'>): Promise<{ policy: AccessPolicy; view: AccessView }> {
  const [chosen, rows] = await Promise.all([readChosen(db), readRows(db)]);
  const of = <Kind extends AccessKind>(kind: Kind): EntryRow[] => rows.filter((row) => row.kind === kind);
  const inForce = <Kind extends AccessKind>(kind: Kind) =>
    of(kind).flatMap((row) => (row.revoked_at === null ? [entryOf(kind, row)] : []));
  const views = <Kind extends AccessKind>(kind: Kind) => of(kind).map((row) => viewOf(kind, row));
  const entries = { keys: inForce('keys'), invites: inForce('invites'), admins: inForce('admins') };
  const hadAny = { keys: of('keys').length > 0, invites: of('invites').length > 0 };
  const policy = policyOf({ chosen, ...entries, hadAny });
  const lists = { keys: views('keys'), invites: views('invites'), admins: views('admins') };
  return { policy, view: { source: 'database', file: null, away: null, rules: rulesView(policy), ...lists } };
}

function readRows(db: Kysely<Tables>): Promise<EntryRow[]> {
  return db.selectFrom('access_entries').selectAll().orderBy('kind').orderBy('name').limit(MAX_ROWS).execute();
}

async function readChosen(db: Kysely<Tables>): Promise<RulesChange> {
  const row = await db.selectFrom('settings').select('value').where('name', '=', RULES).executeTakeFirst();
  return rulesChangeSchema.parse(row?.value ?? {});
}

/** The books in the database. Every change is told to all coordinators that use it. */
export class DatabaseBook implements AccessBook {
  readonly #database: Pick<Database, 'db'>;
  readonly #by: string;
  readonly #flush: () => Promise<unknown>;

  /** `by`: the name of who makes the changes. `flush` writes what this process has not written yet of what was used. */
  constructor(database: Pick<Database, 'db'>, by: string, flush: () => Promise<unknown> = () => Promise.resolve()) {
    this.#database = database;
    this.#by = by;
    this.#flush = flush;
  }

  view(): Promise<AccessView> {
    return reaching(async () => (await readAccess(this.#database)).view);
  }

  async add<Kind extends AccessKind>(kind: Kind, { name, ...more }: NewEntry<Kind>): Promise<MadeEntry<Kind>> {
    const token = newToken();
    const entry = await this.#write(async (db) => {
      const before = await find(db, kind, name);
      if (before?.revoked_at === null) {
        const message = `There is ${aNoun(kind)} "${name}" already. Choose another name, or revoke that one first.`;
        throw new AccessError('name-taken', message);
      }
      return this.#put(db, kind, name, digestOf(token), changed(more as EntryChange<Kind>));
    });
    return { entry: viewOf(kind, entry), token };
  }

  async change<Kind extends AccessKind>(
    kind: Kind,
    name: string,
    change: EntryChange<Kind>,
  ): Promise<EntryViews[Kind]> {
    return this.#write(async (db) => {
      const { note, settings } = changed(change, await findInForce(db, kind, name));
      return viewOf(kind, await update(db, kind, name, { note, settings: JSON.stringify(settings) }));
    });
  }

  revoke<Kind extends AccessKind>(kind: Kind, name: string): Promise<EntryViews[Kind]> {
    return this.#write(async (db) => {
      await findInForce(db, kind, name);
      return viewOf(kind, await update(db, kind, name, { revoked_at: sql<Date>`now()` }));
    });
  }

  setRules(change: RulesChange): Promise<void> {
    return this.#write((db) => putRules(db, change));
  }

  import(file: AccessFile): Promise<Imported> {
    return this.#write(async (db) => {
      const imported: Imported = { copied: [], revoked: [] };
      for (const kind of ACCESS_KINDS) {
        for (const { name, sha256, ...change } of entriesOf(file, kind)) {
          const before = await find(db, kind, name);
          const isRevoked = before?.token_hash === sha256 && before.revoked_at !== null;
          imported[isRevoked ? 'revoked' : 'copied'].push({ kind, name });
          // What the file does not say of an entry of the same token, as a note, stays.
          const kept = before?.token_hash === sha256 ? { note: before.note } : {};
          if (!isRevoked) await this.#put(db, kind, name, Buffer.from(sha256, 'hex'), changed({ ...kept, ...change }));
        }
      }
      await putRules(db, rulesOf(file));
      return imported;
    });
  }

  /** Makes the first operator where there was never an admin, and returns the token. Of several that ask at once, one is told it. */
  async addFirstAdmin(): Promise<string | undefined> {
    const token = newToken();
    return this.#write(async (db) => {
      const any = db.selectFrom('access_entries').select('name').where('kind', '=', 'admins').limit(1);
      if (await any.executeTakeFirst()) return undefined;
      const note = 'made when a coordinator was first started';
      await this.#put(db, 'admins', FIRST_ADMIN, digestOf(token), changed<'admins'>({ role: 'operator', note }));
      return token;
    });
  }

  usage(query: UsageQuery): Promise<UsageReport> {
    return reaching(async () => {
      await this.#flush();
      return usageReport(this.#database.db, query);
    });
  }

  /** Writes an entry of a name that has none, or one that this takes the place of. */
  async #put(
    db: Kysely<Tables>,
    kind: AccessKind,
    name: string,
    digest: Buffer,
    { note, settings }: Pick<EntryRow, 'note' | 'settings'>,
  ): Promise<EntryRow> {
    const token = { token_hash: digest.toString('hex'), created_by: this.#by };
    const values = { ...token, note, settings: JSON.stringify(settings), revoked_at: null };
    const insert = db.insertInto('access_entries').values({ kind, name, ...values });
    const row = await insert
      .onConflict((conflict) => conflict.columns(['kind', 'name']).doUpdateSet({ ...values, created_at: sql`now()` }))
      .returningAll()
      .executeTakeFirstOrThrow();
    await refuseFull(db, kind);
    return row;
  }

  /** A transaction after which all coordinators read the rules again. One at a time, so that what it looks up stays true. */
  #write<T>(work: (db: Kysely<Tables>) => Promise<T>): Promise<T> {
    return reaching(() =>
      changeAndTell(this.#database.db, ACCESS_CHANNEL, async (db) => {
        await sql`select pg_advisory_xact_lock(hashtext(${ACCESS_CHANNEL}))`.execute(db);
        return work(db);
      }),
    );
  }
}

/** What a query fails with, told as an AccessError: that the database is away, unless it is one already. */
async function reaching<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof AccessError) throw error;
    if (isTwice(error)) {
      const message = 'Two entries have the same token; give each a token of its own (npx shoal token).';
      throw new AccessError('name-taken', message, { cause: error });
    }
    throw new AccessError('away', unchangedText(error), { cause: error });
  }
}

/** SQL's unique_violation. */
function isTwice(error: unknown): boolean {
  return (error as { code?: unknown }).code === '23505';
}

function find(db: Kysely<Tables>, kind: AccessKind, name: string): Promise<EntryRow | undefined> {
  const rows = db.selectFrom('access_entries').selectAll().where('kind', '=', kind).where('name', '=', name);
  return rows.executeTakeFirst();
}

async function findInForce(db: Kysely<Tables>, kind: AccessKind, name: string): Promise<EntryRow> {
  const row = await find(db, kind, name);
  if (row?.revoked_at === null) return row;
  const why = row ? `was revoked on ${row.revoked_at!.toISOString()}` : 'is not known';
  throw new AccessError('unknown', `The ${aNoun(kind).replace(/^an? /, '')} "${name}" ${why}.`);
}

function update(
  db: Kysely<Tables>,
  kind: AccessKind,
  name: string,
  columns: { note?: string; settings?: string; revoked_at?: ReturnType<typeof sql<Date>> },
): Promise<EntryRow> {
  const rows = db.updateTable('access_entries').where('kind', '=', kind).where('name', '=', name);
  return rows.set(columns).returningAll().executeTakeFirstOrThrow();
}

/** Every token is compared with all entries in force, and revoked ones are kept for their names. */
async function refuseFull(db: Kysely<Tables>, kind: AccessKind): Promise<void> {
  const rows = db.selectFrom('access_entries').where('kind', '=', kind).where('revoked_at', 'is', null);
  const { count } = await rows.select(({ fn }) => fn.countAll().as('count')).executeTakeFirstOrThrow();
  if (Number(count) > MAX_ACCESS_ENTRIES)
    throw new AccessError('full', `There are ${MAX_ACCESS_ENTRIES} of these already. Revoke one that is not needed.`);
  const latest = db.selectFrom('access_entries').select('name').where('kind', '=', kind);
  await db
    .deleteFrom('access_entries')
    .where('kind', '=', kind)
    .where(
      'name',
      'in',
      latest.where('revoked_at', 'is not', null).orderBy('revoked_at', 'desc').offset(MAX_ACCESS_ENTRIES),
    )
    .execute();
}

async function putRules(db: Kysely<Tables>, change: RulesChange): Promise<void> {
  const all = Object.entries({ ...(await readChosen(db)), ...change }).filter(([, value]) => value != null);
  const value = JSON.stringify(Object.fromEntries(all));
  const insert = db.insertInto('settings').values({ name: RULES, value });
  await insert
    .onConflict((conflict) => conflict.column('name').doUpdateSet({ value, changed_at: sql`now()` }))
    .execute();
}

type FileEntry = { name: string; sha256: string } & EntryChange<AccessKind>;

function entriesOf({ apiKeys = [], invites = [], admins = [] }: AccessFile, kind: AccessKind): readonly FileEntry[] {
  return { keys: apiKeys, invites, admins }[kind];
}

/** The rules that a file states; what it leaves out stays as it is. */
function rulesOf({ apiKeys, invites, inviteOnly = invites && true, metrics, limits }: AccessFile): RulesChange {
  return {
    ...limits,
    ...(apiKeys && { api: 'keys' as const }),
    ...(inviteOnly !== undefined && { swarm: inviteOnly ? ('invited' as const) : ('open' as const) }),
    ...(metrics && { metrics }),
  };
}
