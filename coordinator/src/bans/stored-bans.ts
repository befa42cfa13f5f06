import { type Kysely, sql } from 'kysely';
import type { Database, Tables } from '../database/index.ts';
import { changeAndTell, TableReader, unchangedText } from '../database/reader.ts';
import { type Ban, BanError, type Bans, type BanStore, MAX_BANS, type NewBan } from './bans.ts';

/** Told whenever bans in the database have changed. */
const CHANNEL = 'shoal_bans';

/** Keeps bans as they are in the database, whichever coordinator changes them there. */
export class StoredBans implements BanStore {
  readonly #database: Database;
  #reader: TableReader | undefined;

  private constructor(database: Database) {
    this.#database = database;
  }

  /** Puts the bans of the database in force, and from then on every change. Rejects where it does not answer. */
  static async open(database: Database, bans: Bans): Promise<StoredBans> {
    const stored = new StoredBans(database);
    const read = async (): Promise<void> => {
      const [all, lifted] = await Promise.all([readBans(database.db), readLifted(database.db)]);
      bans.replace(all);
      for (const one of lifted) bans.emit('lifted', one);
    };
    stored.#reader = await TableReader.open({ database, channel: CHANNEL, read });
    bans.keepIn(stored);
    return stored;
  }

  add({ untilMs, ...ban }: NewBan): Promise<void> {
    const until = Number.isFinite(untilMs) ? new Date(untilMs) : null;
    return this.#write(async (db) => {
      await db
        .insertInto('bans')
        .values({ ...ban, until })
        .execute();
    });
  }

  lift(id: number, by: string): Promise<boolean> {
    return this.#write(async (db) => {
      const lifted = { lifted_at: sql<Date>`now()`, lifted_by: by };
      const rows = db.updateTable('bans').set(lifted).where('id', '=', id).where('lifted_at', 'is', null);
      return (await rows.returning('id').execute()).length > 0;
    });
  }

  liftQuarantine(key: string, by: string): Promise<void> {
    return this.#write(async (db) => {
      const row = { kind: 'lifted', subject: key, by, label: '', reason: '', until: null };
      await db.insertInto('bans').values(row).execute();
    });
  }

  async close(): Promise<void> {
    await this.#reader?.close();
  }

  async #write<T>(work: (db: Kysely<Tables>) => Promise<T>): Promise<T> {
    let result: T;
    try {
      result = await changeAndTell(this.#database.db, CHANNEL, work);
    } catch (error) {
      throw new BanError('away', unchangedText(error), { cause: error });
    }
    await this.#reader?.refresh();
    return result;
  }
}

async function readBans(db: Kysely<Tables>): Promise<Ban[]> {
  const rows = await db
    .selectFrom('bans')
    .selectAll()
    .where('kind', 'in', ['ban', 'drain'])
    .where('lifted_at', 'is', null)
    .where(sql<boolean>`(until is null or until > now())`)
    .orderBy('id', 'desc')
    .limit(MAX_BANS)
    .execute();
  return rows.map(({ id, kind, subject, label, reason, by, at, until }) => ({
    id,
    kind: kind as Ban['kind'],
    subject,
    label,
    reason,
    by,
    atMs: at.getTime(),
    untilMs: until?.getTime() ?? Number.POSITIVE_INFINITY,
  }));
}

/** Quarantines that an operator has ended, for as long as one could still be known anywhere. */
async function readLifted(db: Kysely<Tables>): Promise<{ key: string; atMs: number }[]> {
  const rows = await db
    .selectFrom('bans')
    .select(['subject', 'at'])
    .where('kind', '=', 'lifted')
    .orderBy('id', 'desc')
    .limit(MAX_BANS)
    .execute();
  return rows.map(({ subject, at }) => ({ key: subject, atMs: at.getTime() }));
}
