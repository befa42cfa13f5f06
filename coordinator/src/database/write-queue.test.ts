import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Database, shareDatabase, type SharedDatabase, WriteQueue } from './index.ts';
import { memoryDatabase } from './testing/memory-database.ts';
import type { WriteQueueOptions } from './write-queue.ts';

let database: Database;
const shared: SharedDatabase[] = [];

beforeAll(async () => {
  database = await memoryDatabase();
});

afterAll(() => database.close());

afterEach(async () => {
  await Promise.all(shared.splice(0).map((one) => one.close()));
  await sql`truncate usage, events, written_batches`.execute(database.db);
});

const KEYS = ['key', 'day', 'model'] as const;

/** A queue that writes when it is told to, by a line to the database of its own. */
function newQueue(options: WriteQueueOptions = {}) {
  const line = shareDatabase(database)();
  shared.push(line);
  const queue = new WriteQueue(line, { writeAfterMs: 1e9, ...options });
  const count = queue.countersOf<{ key: string; day: string; model: string }, 'requests' | 'prompt_tokens'>({
    what: 'usage',
    keys: KEYS,
    write: (db, rows) =>
      db
        .insertInto('usage')
        .values([...rows])
        .onConflict((conflict) =>
          conflict.columns([...KEYS]).doUpdateSet((eb) => ({
            requests: eb('usage.requests', '+', eb.ref('excluded.requests')),
            prompt_tokens: eb('usage.prompt_tokens', '+', eb.ref('excluded.prompt_tokens')),
          })),
        )
        .execute(),
  });
  const tell = queue.rowsOf<{ text: string }>({
    what: 'events',
    write: (db, rows) => {
      const common = { at: new Date(), member: 'c-1', level: 'info', kind: 'server', peer_id: null };
      return db
        .insertInto('events')
        .values(rows.map((row) => ({ ...common, ...row })))
        .execute();
    },
  });
  return { queue, line, tell, use: (requests = 1) => count({ key: 'k', day: '2026-11-30', model: 'm' }, { requests }) };
}

const texts = async (): Promise<string[]> =>
  (await database.db.selectFrom('events').select('text').orderBy('id').execute()).map(({ text }) => text);
const requests = async (): Promise<number | undefined> =>
  (await database.db.selectFrom('usage').select('requests').executeTakeFirst())?.requests;

describe('WriteQueue', () => {
  it('merges additions, keeps the order of rows, and adds to what the database has', async () => {
    const { queue, tell, use } = newQueue();
    for (const text of ['a', 'b', 'c']) tell({ text });
    for (let i = 0; i < 1000; i++) use();
    expect(queue.rows).toBe(4);
    await queue.flush();
    use(5);
    await queue.flush();
    expect(await texts()).toEqual(['a', 'b', 'c']);
    expect(await requests()).toBe(1005);
    expect(queue.rows).toBe(0);
  });

  it('doubles nothing when the answer to a COMMIT is lost', async () => {
    const { queue, line, tell, use } = newQueue();
    loseAnswers(line, 'commit', 1);
    tell({ text: 'once' });
    use();
    await queue.flush();
    // Written, but the queue does not know.
    expect(queue.rows).toBe(2);
    expect(await texts()).toEqual(['once']);
    tell({ text: 'twice' });
    use();
    await queue.flush();
    expect(queue.rows).toBe(0);
    expect(await texts()).toEqual(['once', 'twice']);
    expect(await requests()).toBe(2);
  });

  it('writes everything after a time without the database', async () => {
    const { queue, line, tell, use } = newQueue();
    line.cut();
    for (let i = 0; i < 1200; i++) {
      tell({ text: `${i}` });
      use();
      if (i % 400 === 0) await queue.flush();
    }
    expect(line.isAway).toBe(true);
    expect(queue.rows).toBeGreaterThan(1200);
    line.heal();
    await queue.flush();
    expect(await texts()).toEqual(Array.from({ length: 1200 }, (_, i) => `${i}`));
    expect(await requests()).toBe(1200);
    expect(queue.lost.size).toBe(0);
  });

  it('drops and counts the oldest beyond its bounds', async () => {
    const { queue, line, tell } = newQueue({ maxRows: 10 });
    line.cut();
    for (let i = 0; i < 25; i++) tell({ text: `${i}` });
    expect(queue.rows).toBe(10);
    expect([...queue.lost]).toEqual([['events', 15]]);
    line.heal();
    await queue.flush();
    expect((await texts())[0]).toBe('15');
    const small = newQueue({ maxBytes: 5_000 });
    for (let i = 0; i < 10; i++) small.tell({ text: 'x'.repeat(500) });
    expect(small.queue.rows).toBe(4);
  });

  it('leaves out the rows that the database refuses, and only those', async () => {
    const errors: string[] = [];
    const { queue, tell, use } = newQueue({ onError: (text) => errors.push(text) });
    // Postgres has no text with a zero byte.
    for (const text of ['a', 'b\0', 'c', 'd', 'e\0', 'f', 'g']) tell({ text });
    use();
    await queue.flush();
    expect(await texts()).toEqual(['a', 'c', 'd', 'f', 'g']);
    expect(await requests()).toBe(1);
    expect([...queue.lost]).toEqual([['events', 2]]);
    expect(errors).toEqual([expect.stringContaining('refuses a row of events'), expect.any(String)]);
  });

  it('writes the last rows at the end, and gives up after a while without the database', async () => {
    const one = newQueue();
    one.tell({ text: 'last' });
    await one.queue.close();
    expect(await texts()).toEqual(['last']);
    const errors: string[] = [];
    const other = newQueue({ onError: (text) => errors.push(text) });
    other.line.cut();
    other.tell({ text: 'lost' });
    await other.queue.close(50);
    expect(errors).toEqual(['1 rows could not be written to the database before the end']);
    expect([...other.queue.lost]).toEqual([['events', 1]]);
  });

  it('writes by itself, soon after the first row', async () => {
    const batches: number[] = [];
    const { tell } = newQueue({ writeAfterMs: 5, onBatch: (_, rows) => batches.push(rows) });
    tell({ text: 'a' });
    tell({ text: 'b' });
    await expect.poll(() => batches).toEqual([2]);
    expect(await texts()).toEqual(['a', 'b']);
  });
});

/** Cuts the line just before the answer to a statement comes back, `times` times. */
function loseAnswers(line: SharedDatabase, statement: string, times: number): void {
  const connect = line.pool.connect.bind(line.pool) as () => Promise<import('pg').PoolClient>;
  line.pool.connect = (async () => {
    const client = await connect();
    const query = client.query.bind(client) as (text: string, values?: unknown[]) => Promise<unknown>;
    client.query = (async (text: string, values?: unknown[]) => {
      const answer = await query(text, values);
      if (text !== statement || times-- <= 0) return answer;
      line.cut();
      line.heal();
      throw new Error('Connection terminated');
    }) as never;
    return client;
  }) as never;
}
