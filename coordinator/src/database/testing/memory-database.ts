import { resolve } from 'node:path';
import { sql } from 'kysely';
import packageJson from '../../../package.json' with { type: 'json' };
import { type Database, migrate, openDatabase, shareDatabase, type SharedDatabase } from '../index.ts';

const VERSION = packageJson.dependencies['@electric-sql/pglite'];
const TEMPLATE = resolve(import.meta.dirname, `../../../../.cache/database/template-${VERSION}.tar`);

let ofWorker: Promise<Database> | undefined;

/**
 * An embedded database in memory with all tables, which are empty. The test files of a worker share its thread, one after the
 * other: a file that needs two databases at a time opens the second by `openDatabase`. `shareDatabase` works with it.
 */
export async function memoryDatabase(): Promise<SharedDatabase> {
  const database = await (ofWorker ??= open());
  const found = sql<{ names: string }>`
    select string_agg(quote_ident(tablename), ', ') as names from pg_tables
    where schemaname = 'public' and tablename not like 'kysely%'`;
  const { names } = (await found.execute(database.db)).rows[0]!;
  await sql`truncate ${sql.raw(names)} restart identity cascade`.execute(database.db);
  return shareDatabase(database)();
}

async function open(): Promise<Database> {
  const database = await openDatabase({ kind: 'memory', template: TEMPLATE });
  await migrate(database);
  return database;
}
