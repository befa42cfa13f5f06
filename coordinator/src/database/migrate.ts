import { type Kysely, sql } from 'kysely';
import { Migrator, type Migration } from 'kysely/migration';
import type { Database } from './database.ts';
import { DatabaseError } from './database-error.ts';
import { MIGRATIONS } from './migrations/index.ts';

export interface MigrateOptions {
  /** For tests. */
  migrations?: Readonly<Record<string, Migration>>;
}

/**
 * Brings the tables up to date, in one transaction. Of several that do so at once one does it, and the others wait
 * (an advisory lock). Throws a DatabaseError `newer` for a database that a newer program has changed.
 */
export async function migrate(database: Database, { migrations = MIGRATIONS }: MigrateOptions = {}): Promise<void> {
  await pendingMigrations(database, { migrations });
  const db = database.db as unknown as Kysely<unknown>;
  const migrator = new Migrator({ db, provider: { getMigrations: async () => ({ ...migrations }) } });
  const { error } = await migrator.migrateToLatest();
  if (error === undefined) return;
  // Another may have been faster.
  await pendingMigrations(database, { migrations });
  throw migrationError(database, error);
}

/** The migrations that the database has not had yet. Throws DatabaseError `newer` where it has had one that is not known here. */
export async function pendingMigrations(
  database: Database,
  { migrations = MIGRATIONS }: MigrateOptions = {},
): Promise<string[]> {
  const known = Object.keys(migrations);
  const had = await applied(database.db as unknown as Kysely<unknown>);
  const newer = had.find((name) => !known.includes(name));
  if (newer === undefined) return known.filter((name) => !had.includes(name));
  const message = `The database ${database.place} was changed by a newer Shoal (${newer}; this one knows ${known.at(-1)}). Start that version or a newer one, or choose another database.`;
  throw new DatabaseError('newer', message);
}

/** The names of the migrations that the database has had. */
async function applied(db: Kysely<unknown>): Promise<string[]> {
  const exists = sql<{ there: boolean }>`select to_regclass('kysely_migration') is not null as there`;
  if (!(await exists.execute(db)).rows[0]?.there) return [];
  const { rows } = await sql<{ name: string }>`select name from kysely_migration order by name`.execute(db);
  return rows.map(({ name }) => name);
}

function migrationError({ place }: Database, error: unknown): DatabaseError {
  const { message, code } = error as Error & { code?: string };
  if (code === '42501') {
    const text = `The database user may not make tables in ${place} (${message}). Grant it: GRANT CREATE ON SCHEMA public TO the user.`;
    return new DatabaseError('no-rights', text, { cause: error });
  }
  const text = `The tables of ${place} could not be brought up to date (${message}). Nothing was changed. Restore a backup, or report this.`;
  return new DatabaseError('migration', text, { cause: error });
}
