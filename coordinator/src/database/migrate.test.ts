import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { migrate } from './migrate.ts';
import { MIGRATIONS } from './migrations/index.ts';
import { memoryDatabase } from './testing/memory-database.ts';
import type { SharedDatabase } from './open.ts';
import { shareDatabase } from './index.ts';

const VERSIONS = Object.keys(MIGRATIONS);
const upTo = (version: string) =>
  Object.fromEntries(Object.entries(MIGRATIONS).slice(0, VERSIONS.indexOf(version) + 1));
const fixture = (version: string): string => join(import.meta.dirname, 'fixtures', `${version}.sql`);

let database: SharedDatabase;

beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(async () => {
  await emptyWholly();
  await migrate(database);
  await database.close();
});

const emptyWholly = async (): Promise<void> => {
  await sql`drop schema public cascade`.execute(database.db);
  await sql`create schema public`.execute(database.db);
};

/** Rows of each table. */
async function counts(): Promise<Record<string, number>> {
  const { rows } = await sql<{ name: string }>`
    select tablename as name from pg_tables where schemaname = 'public' and tablename not like 'kysely%'`.execute(
    database.db,
  );
  const found: Record<string, number> = {};
  for (const { name } of rows) {
    const counted = await sql<{ count: number }>`select count(*) as count from ${sql.table(name)}`.execute(database.db);
    found[name] = counted.rows[0]!.count;
  }
  return found;
}

describe('migrate', () => {
  it.each(VERSIONS)('brings a database of version %s up to date, with what it holds', async (version) => {
    if (!existsSync(fixture(version)))
      throw new Error(`${fixture(version)} is missing: rows of a database of this version`);
    await emptyWholly();
    await migrate(database, { migrations: upTo(version) });
    for (const statement of readFileSync(fixture(version), 'utf8')
      .split(/;\n/)
      .filter((text) => text.trim() !== ''))
      await sql.raw(statement).execute(database.db);
    const before = await counts();
    expect(Object.values(before).filter((count) => count > 0).length).toBeGreaterThan(0);
    await migrate(database);
    expect(await counts()).toMatchObject(before);
    // What queries of this version use is there.
    expect(await database.db.selectFrom('donor_days').selectAll().execute()).toMatchObject([
      { donor: 'd1', day: '2026-11-30', tokens_helped: 1.5, verified_rows: 64, rows: 500 },
    ]);
    const key = database.db.selectFrom('access_entries').selectAll().where('kind', '=', 'keys');
    expect((await key.executeTakeFirstOrThrow()).settings).toEqual({ requestsPerMinute: 60 });
  });

  it('refuses a database that a newer program has changed, by name, and leaves it alone', async () => {
    await emptyWholly();
    const up = async (): Promise<void> => {};
    await migrate(database, { migrations: { ...MIGRATIONS, '999-of-the-future': { up } } });
    await expect(migrate(database)).rejects.toMatchObject({
      reason: 'newer',
      message: expect.stringContaining(`999-of-the-future; this one knows ${VERSIONS.at(-1)}`),
    });
  });

  it('runs each migration once when two coordinators start at once', async () => {
    await emptyWholly();
    const other = shareDatabase(database)();
    let runs = 0;
    const counted = { '001-counted': { up: async () => void runs++ } };
    await Promise.all([database, other].map((one) => migrate(one, { migrations: counted })));
    expect(runs).toBe(1);
    await other.close();
  });

  it('changes nothing when a migration fails', async () => {
    await emptyWholly();
    const broken = { ...MIGRATIONS, '999-broken': { up: async () => Promise.reject(new Error('no')) } };
    await expect(migrate(database, { migrations: broken })).rejects.toMatchObject({ reason: 'migration' });
    expect(await counts()).toEqual({});
  });
});
