import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseDatabaseUrl } from '../base/database-url.ts';
import { lockDirectory } from './directory-lock.ts';
import { openDatabase, shareDatabase, type SharedDatabase } from './index.ts';
import { openServer } from './server.ts';
import { memoryDatabase } from './testing/memory-database.ts';

let database: SharedDatabase;
let folder: string;

beforeAll(async () => {
  [database, folder] = await Promise.all([memoryDatabase(), mkdtemp(join(tmpdir(), 'shoal-database-'))]);
});
afterAll(async () => {
  await database.close();
  await rm(folder, { recursive: true });
});

describe('an embedded database', () => {
  it('gives each of its users turns, and a transaction its turn until the end', async () => {
    const other = shareDatabase(database)();
    const seen: number[] = [];
    const [, later] = await Promise.all([
      database.db.transaction().execute(async (trx) => {
        await sql`insert into settings (name, value) values ('a', '1')`.execute(trx);
        // The other one asks meanwhile.
        await new Promise((resolve) => setTimeout(resolve, 50));
        seen.push(1);
        await sql`insert into settings (name, value) values ('b', '2')`.execute(trx);
      }),
      new Promise((resolve) => setTimeout(resolve, 20)).then(async () => {
        const found = await other.db.selectFrom('settings').select('name').orderBy('name').execute();
        seen.push(2);
        return found;
      }),
    ]);
    expect(seen).toEqual([1, 2]);
    expect(later).toEqual([{ name: 'a' }, { name: 'b' }]);
    await other.close();
  });

  it('rolls back what a user has begun when its line is cut, and serves the others', async () => {
    const other = shareDatabase(database)();
    const begun = other.db.transaction().execute(async (trx) => {
      await sql`insert into settings (name, value) values ('half', '1')`.execute(trx);
      other.cut();
      await sql`select 1`.execute(trx);
    });
    await expect(begun).rejects.toThrow('connection');
    expect(other.isAway).toBe(true);
    expect(database.isAway).toBe(false);
    expect(await database.db.selectFrom('settings').select('name').where('name', '=', 'half').execute()).toEqual([]);
    await other.close();
  });

  it('tells errors of queries from being away, and keeps types', async () => {
    await expect(sql`select 1 / 0`.execute(database.db)).rejects.toMatchObject({ code: '22012' });
    expect(database.isAway).toBe(false);
    const values = sql`select 9007199254740991::bigint as big, date '2026-11-30' as day, '{"a": [1]}'::jsonb as json, 'Grüße €' as text`;
    expect((await values.execute(database.db)).rows).toEqual([
      { big: Number.MAX_SAFE_INTEGER, day: '2026-11-30', json: { a: [1] }, text: 'Grüße €' },
    ]);
    const long = 'x'.repeat(3_000_000);
    expect((await sql<{ long: string }>`select ${long}::text as long`.execute(database.db)).rows[0]!.long).toBe(long);
  });

  it('carries notifications between users, and says when some may have been missed', async () => {
    const other = shareDatabase(database)();
    const heard: string[] = [];
    const away: string[] = [];
    other.events.on('away', (why) => away.push(why));
    const stop = await other.listen(
      'shoal_test',
      (payload) => heard.push(payload),
      () => heard.push('resumed'),
    );
    const notify = (text: string) => sql`select pg_notify('shoal_test', ${text})`.execute(database.db);
    await notify('one');
    await expect.poll(() => heard).toEqual(['one']);
    other.cut();
    await notify('missed');
    other.heal();
    await expect.poll(() => heard, { timeout: 90_000 }).toEqual(['one', 'resumed']);
    expect(away).toEqual(['The line to the database is cut']);
    expect(other.isAway).toBe(false);
    await notify('two');
    await expect.poll(() => heard).toEqual(['one', 'resumed', 'two']);
    await stop();
    await notify('three');
    await sql`select 1`.execute(other.db);
    expect(heard).toHaveLength(3);
    await other.close();
    await expect(other.listen('Not a name; drop table', () => {})).rejects.toThrow('channel');
  });
});

describe('openDatabase', () => {
  it('names the process that uses the directory', async () => {
    const dir = join(folder, 'used');
    const lock = await lockDirectory(dir);
    // A live process touches its lock every 5 s; here sooner.
    const touches = setInterval(() => void utimes(join(dir, 'pack.lock'), 0, performance.now()), 50);
    await expect(openDatabase({ kind: 'embedded', dir })).rejects.toMatchObject({
      reason: 'in-use',
      message: expect.stringMatching(`is in use by process ${process.pid}.*--data DIR.*--database postgres://`),
    });
    clearInterval(touches);
    await lock.release();
  });

  it('names a directory that cannot be made, and one whose files cannot be read', async () => {
    await writeFile(join(folder, 'file'), '');
    const inFile = openDatabase({ kind: 'embedded', dir: join(folder, 'file', 'data') });
    await expect(inFile).rejects.toMatchObject({
      reason: 'unwritable',
      message: expect.stringContaining('--data DIR'),
    });
    const dir = join(folder, 'damaged');
    await mkdir(join(dir, 'postgres'), { recursive: true });
    await writeFile(join(dir, 'postgres', 'PG_VERSION'), '3\n');
    const damaged = openDatabase({ kind: 'embedded', dir });
    await expect(damaged).rejects.toMatchObject({ reason: 'damaged', message: expect.stringContaining(dir) });
    // It can be tried again.
    await expect(lockDirectory(dir).then((lock) => lock.release())).resolves.toBeUndefined();
  });

  it('gives up on a server that does not answer, with a remedy and without the password', async () => {
    const started = openServer('postgres://me:a-secret@127.0.0.1:1/shoal', 0);
    await expect(started).rejects.toMatchObject({
      reason: 'unreachable',
      message: expect.stringMatching(/127\.0\.0\.1:1 .*Start it/),
    });
    await expect(started).rejects.not.toMatchObject({ message: expect.stringContaining('a-secret') });
  });
});

it('parseDatabaseUrl names what is wrong, and quotes no password', () => {
  expect(parseDatabaseUrl('postgres://me:secret@db.example.org/shoal')).toEqual({
    host: 'db.example.org:5432',
    user: 'me',
    name: 'shoal',
  });
  expect(parseDatabaseUrl('postgresql:///shoal?host=/run/postgresql').host).toBe('/run/postgresql:5432');
  for (const url of ['mysql://me:secret@host/x', 'postgres://me:secret@ho st/x', 'postgres://me:se%cret@host/%zz']) {
    let text = '';
    try {
      parseDatabaseUrl(url);
    } catch (error) {
      text = String(error);
    }
    expect(text).toContain('takes postgres://USER:PASSWORD@HOST:PORT/NAME');
    expect(text).not.toContain('cret');
  }
});
