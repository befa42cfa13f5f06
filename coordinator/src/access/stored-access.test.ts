import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Database } from '../database/index.ts';
import { shareDatabase, type SharedDatabase } from '../database/index.ts';
import { memoryDatabase } from '../database/testing/memory-database.ts';
import { Access } from './access.ts';
import type { AccessBook } from './access-book.ts';
import { DatabaseBook } from './database-book.ts';
import { StoredAccess } from './stored-access.ts';
import { entry } from './testing/fixtures.ts';
import { digestOf } from './token.ts';
import { utcDay } from './usage-query.ts';

let database: Database;
/** Two coordinators, the second of which can be cut off. */
let second: SharedDatabase;
const accesses = [new Access({}), new Access({})] as const;
let stored: StoredAccess[];
let book: AccessBook;
const said: string[] = [];

beforeAll(async () => {
  database = await memoryDatabase();
  second = shareDatabase(database)();
  stored = [await StoredAccess.open(database, accesses[0]), await StoredAccess.open(second, accesses[1])];
  accesses[1].events.on('report', (_level, text) => said.push(text));
  book = stored[0]!.book('otto');
});
afterAll(async () => {
  for (const one of stored ?? []) await one.close();
  await second?.close();
  await database?.close();
});

const refusal = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'none',
    (error: { reason?: string }) => error.reason ?? error,
  );
/** The names of the second coordinator's keys. */
const secondKeys = () => accesses[1].policy.apiKeys?.map(({ name }) => name);

describe('the books', () => {
  it('make entries that hold at once where they were made, and soon everywhere else', async () => {
    const { entry: ann, token } = await book.add('keys', { name: 'ann', requestsPerMinute: 5, note: 'her thesis' });
    expect(ann).toMatchObject({ name: 'ann', requestsPerMinute: 5, tokensPerDay: null, by: 'otto', revoked: null });
    expect(accesses[0].policy.apiKeys).toEqual([{ name: 'ann', digest: digestOf(token), requestsPerMinute: 5 }]);
    await expect.poll(secondKeys).toEqual(['ann']);
    expect(said).toEqual(['The rules of access were changed: apiKeys + ann; the API requires a key']);
    const invite = await book.add('invites', { name: 'class', expires: '2030-01-31T12:00:00Z', maxPeers: 3 });
    expect(accesses[0].invite(invite.token)).toMatchObject({ expiresMs: Date.UTC(2030, 0, 31, 12), maxPeers: 3 });
    const vera = await book.add('admins', { name: 'vera', role: 'viewer' });
    expect(accesses[0].admin(vera.token)).toMatchObject({ name: 'vera', role: 'viewer' });
    expect(JSON.stringify(await book.view())).not.toContain(digestOf(token).toString('hex').slice(0, 8));
  });

  it('change limits one by one, and take them away', async () => {
    await book.change('keys', 'ann', { tokensPerDay: 1_000 });
    const ann = await book.change('keys', 'ann', { requestsPerMinute: null, note: 'done' });
    expect(ann).toMatchObject({ requestsPerMinute: null, tokensPerDay: 1_000, note: 'done' });
    expect(accesses[0].policy.apiKeys?.[0]).toEqual({ name: 'ann', digest: expect.any(Buffer), tokensPerDay: 1_000 });
  });

  it('refuse what there is already, and what there is not', async () => {
    expect(await refusal(book.add('keys', { name: 'ann' }))).toBe('name-taken');
    expect(await refusal(book.change('keys', 'eve', {}))).toBe('unknown');
    expect(await refusal(book.revoke('invites', 'ann'))).toBe('unknown');
  });

  it('revoke, keep the door shut, and give a name again with another token', async () => {
    const before = accesses[0].policy.apiKeys![0]!.digest;
    await book.revoke('keys', 'ann');
    expect(accesses[0].policy.apiKeys).toEqual([]);
    expect(await refusal(book.revoke('keys', 'ann'))).toBe('unknown');
    expect((await book.view()).keys).toMatchObject([{ name: 'ann', revoked: expect.any(String) }]);
    const again = await book.add('keys', { name: 'ann' });
    expect(again.entry).toMatchObject({ revoked: null, tokensPerDay: null, note: '' });
    expect(accesses[0].policy.apiKeys![0]!.digest.equals(before)).toBe(false);
  });

  it('copy an access file: its entries replace those of their names, and revoked tokens stay revoked', async () => {
    const bob = await book.add('keys', { name: 'bob' });
    await book.revoke('keys', 'bob');
    const file = {
      apiKeys: [
        { ...entry('ann', 'key-of-ann', { maxConcurrent: 2 }), name: 'ann' },
        { name: 'bob', sha256: digestOf(bob.token).toString('hex') },
      ],
      inviteOnly: false,
      limits: { tabsPerDonor: 2 },
    };
    expect(await book.import(file)).toEqual({
      copied: [{ kind: 'keys', name: 'ann' }],
      revoked: [{ kind: 'keys', name: 'bob' }],
    });
    expect(accesses[0].policy).toMatchObject({
      apiKeys: [{ name: 'ann', digest: digestOf('key-of-ann'), maxConcurrent: 2 }],
      inviteOnly: false,
      invites: [{ name: 'class' }],
      limits: { tabsPerDonor: 2, peersPerAddress: 64 },
    });
    const twice = { apiKeys: [{ name: 'zoe', sha256: digestOf('key-of-ann').toString('hex') }] };
    expect(await refusal(book.import(twice))).toBe('name-taken');
    await book.setRules({ swarm: null, api: 'open', tabsPerDonor: null });
    expect(accesses[0].policy).toMatchObject({ apiKeys: undefined, inviteOnly: true, limits: { tabsPerDonor: 8 } });
    await book.setRules({ api: null });
  });

  it('make a first admin once, and never where there was one', async () => {
    const books = [new DatabaseBook(database, 'a'), new DatabaseBook(second, 'b')];
    expect(await books[0]!.addFirstAdmin()).toBeUndefined();
    await database.db.deleteFrom('access_entries').where('kind', '=', 'admins').execute();
    const made = await Promise.all(books.map((one) => one.addFirstAdmin()));
    const [token, ...others] = made.filter((one) => one !== undefined);
    expect(others).toEqual([]);
    await stored[0]!.refresh();
    expect(accesses[0].admin(token!)).toMatchObject({ name: 'first', role: 'operator' });
    await book.revoke('admins', 'first');
    expect(await books[1]!.addFirstAdmin()).toBeUndefined();
  });

  it('add up what was used, by what they are asked for', async () => {
    const day = utcDay(Date.now());
    const used = { day, requests: 2, prompt_tokens: 30, completion_tokens: 7 };
    const rows = [
      { ...used, key: 'ann', model: 'tiny' },
      { ...used, key: 'ann', model: 'pirates', refusals: 1 },
      { ...used, key: '', model: 'tiny' },
      { ...used, key: 'ann', model: 'tiny', day: '2026-01-02' },
    ];
    await database.db.insertInto('usage').values(rows).execute();
    const told = { requests: 2, refusals: 0, promptTokens: 30, completionTokens: 7 };
    expect((await book.usage({ key: 'ann' })).rows).toEqual([
      { key: 'ann', day, model: 'pirates', ...told, refusals: 1 },
      { key: 'ann', day, model: 'tiny', ...told },
    ]);
    expect((await book.usage({ by: 'key', model: 'tiny' })).rows).toEqual([
      { key: '', ...told },
      { key: 'ann', ...told },
    ]);
    expect((await book.usage({ from: '2026-01-01', to: '2026-01-31', by: 'day' })).rows).toEqual([
      { day: '2026-01-02', ...told },
    ]);
  });
});

describe('a coordinator that is cut off from the database', () => {
  it('keeps its rules, says so, refuses changes, and reads what it missed when it is back', async () => {
    let views = 0;
    accesses[1].events.on('view', () => views++);
    second.cut();
    expect(await refusal(stored[1]!.book('eve').add('keys', { name: 'eve' }))).toBe('away');
    await expect.poll(() => stored[1]!.view.away).not.toBeNull();
    expect(views).toBeGreaterThan(0);
    await book.add('keys', { name: 'carl' });
    expect(secondKeys()).toEqual(['ann']);
    second.heal();
    await expect.poll(secondKeys, { timeout: 90_000 }).toEqual(['ann', 'carl']);
    await expect.poll(() => stored[1]!.view.away).toBeNull();
  });
});
