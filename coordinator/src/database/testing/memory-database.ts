import { resolve } from 'node:path';
import packageJson from '../../../package.json' with { type: 'json' };
import { type Database, migrate, openDatabase } from '../index.ts';

const VERSION = packageJson.dependencies['@electric-sql/pglite'];
const TEMPLATE = resolve(import.meta.dirname, `../../../../.cache/database/template-${VERSION}.tar`);

/** An embedded database in memory with all tables, in about a second. */
export async function memoryDatabase(): Promise<Database> {
  const database = await openDatabase({ kind: 'memory', template: TEMPLATE });
  await migrate(database);
  return database;
}
