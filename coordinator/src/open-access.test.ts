import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Access } from './access/access.ts';
import { entry } from './access/testing/fixtures.ts';
import { EventLog } from './base/event-log.ts';
import { runAccess, runUsage } from './cli/access-commands.ts';
import type { CommandIo } from './cli/command.ts';
import { entryCommands } from './cli/entry-commands.ts';
import { type Config, defaultConfig } from './config.ts';
import { AccountBook } from './contribution/account-book.ts';
import { type Database, shareDatabase, WriteQueue } from './database/index.ts';
import { memoryDatabase } from './database/testing/memory-database.ts';
import { startServer, type TestServer } from './http/testing/harness.ts';
import { type Books, httpAccess, openAccess, openBooks } from './open-access.ts';
import { UsageRecords } from './records/index.ts';
import { Quarantine } from './trust/quarantine.ts';
import type { Settings } from './settings/index.ts';
import { applyInviteOnly, openGovernment } from './open-settings.ts';

let database: Database;

/** A coordinator's doors, without the coordinator: its HTTP server gives scripted answers. */
interface Doors {
  access: Access;
  books: Books;
  server: TestServer;
  events: EventLog;
  settings: Settings;
  close(): Promise<void>;
}

async function openDoors(own: Database, config: Partial<Config> = {}): Promise<Doors> {
  const whole = defaultConfig(config);
  const access = openAccess(whole);
  const events = new EventLog();
  const queue = new WriteQueue(own);
  const kept = { database: own, queue, usage: new UsageRecords(queue) };
  const books = await openBooks(access, whole, kept);
  const quarantine = new Quarantine();
  const { settings, bans, close: closeGovernment } = await openGovernment(whole, own, quarantine);
  applyInviteOnly(settings, access);
  const parts = { access, books, events, settings, bans, quarantine, kept };
  const http = await httpAccess({ ...parts, contributions: new AccountBook(own), modelId: 'fake-model' });
  const server = await startServer({ script: () => ({ ids: [97, 98] }) }, { access: http });
  const close = async (): Promise<void> => {
    await server.app.close();
    http.close();
    await books.close();
    await closeGovernment();
    await queue.close();
    await own.close();
  };
  return { access, books, server, events, settings, close };
}

let doors: Doors;
/** The token of a key. */
let zoe: string;
beforeAll(async () => {
  database = await memoryDatabase();
  doors = await openDoors(shareDatabase(database)());
});
afterAll(async () => {
  await doors?.close();
  await database?.close();
});

async function ask(
  method: string,
  path: string,
  token: string | undefined,
  body?: object,
  { headers = {}, of = doors }: { headers?: Record<string, string>; of?: Doors } = {},
) {
  const response = await fetch(of.server.url + path, {
    method,
    headers: {
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...(body && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  const json = text.startsWith('{') ? (JSON.parse(text) as Record<string, never>) : undefined;
  return { status: response.status, text, json, code: (json?.['error'] as { code?: string } | undefined)?.code };
}

const complete = (key: string, of = doors) =>
  ask('POST', '/v1/completions', key, { model: 'fake-model', prompt: 'Once', max_tokens: 2 }, { of });

/** Runs a command as a person does, on another machine. */
async function shoal(run: (argv: readonly string[], io: CommandIo) => Promise<number>, ...argv: string[]) {
  let out = '';
  const stream = { write: (text: string) => (out += text) };
  const place = ['--url', doors.server.url, '--token', doors.books.adminToken!];
  const code = await run([...argv, ...place], { stdout: stream, stderr: stream });
  return { code, out };
}

describe('administration', () => {
  it('begins with one operator, whose token outlives the process', async () => {
    const first = doors.books.adminToken!;
    const again = await openDoors(shareDatabase(database)());
    expect([again.books.adminToken, again.access.admin(first)?.name]).toEqual([undefined, 'first']);
    await again.close();
    expect(await ask('GET', '/admin/access', first)).toMatchObject({
      status: 200,
      json: { source: 'database', rules: { api: 'open', swarm: 'open', metrics: 'open' }, admins: [{ name: 'first' }] },
    });
    expect((await ask('GET', '/metrics', undefined)).status).toBe(200);
  });

  it('is for admins, in whatever spelling, and changes are for operators', async () => {
    const vera = await ask('POST', '/admin/admins', doors.books.adminToken, { name: 'vera', role: 'viewer' });
    expect(vera).toMatchObject({ status: 201, json: { entry: { name: 'vera', by: 'first', role: 'viewer' } } });
    const token = String(vera.json!['token']);
    expect((await ask('GET', '/admin/access', token)).status).toBe(200);
    expect(await ask('POST', '/admin/keys', token, { name: 'eve' })).toMatchObject({
      status: 403,
      code: 'operator_needed',
    });
    // Before the body is read.
    expect(await ask('POST', '/admin/keys', 'guess', { name: 5 })).toMatchObject({ status: 401 });
    for (const path of ['/admin/access', '/admin//usage', '/admin/usage/']) {
      expect(await ask('GET', path, undefined), path).toMatchObject({ status: 401, code: 'operator_token_missing' });
    }
    expect(await ask('GET', '/admin/keys', token)).toMatchObject({ status: 405 });
    const preflight = await fetch(`${doors.server.url}/admin/keys`, {
      method: 'OPTIONS',
      headers: { origin: 'https://site.example' },
    });
    expect(preflight.headers.get('access-control-allow-origin')).toBeNull();
    expect((await ask('GET', '/metrics', undefined)).status).toBe(401);
  });

  it('sets what may be set while it runs, and says who did: viewers only look, and see no secret', async () => {
    const { adminToken: admin } = doors.books;
    const vera = String((await ask('POST', '/admin/admins', admin, { name: 'val', role: 'viewer' })).json!['token']);
    const set = (body: object, token = admin) => ask('PATCH', '/admin/settings', token, body);
    expect(await set({ replicas: 3, inviteOnly: true, alertWebhook: 'https://hooks.test/key' })).toMatchObject({
      status: 200,
      json: { isKept: true, away: null },
    });
    expect(doors.access.policy.inviteOnly).toBe(true);
    const texts = doors.events.all().map(({ text }) => text);
    expect(texts).toContain('The operator (first, 127.0.0.1) set replicas from 2 (the default) to 3');
    expect(texts.join()).not.toContain('hooks.test');
    expect(await set({ replicas: 4 }, vera)).toMatchObject({ status: 403, code: 'operator_needed' });
    const seen = await ask('GET', '/admin/settings', vera);
    expect([seen.status, seen.text.includes('hooks.test')]).toEqual([200, false]);
    expect((await ask('GET', '/admin/settings', admin)).text).toContain('hooks.test');
    expect(await ask('GET', '/admin/settings', undefined)).toMatchObject({ status: 401 });
    const refused = await set({ replicas: 17, about: 'x' });
    expect(refused).toMatchObject({ status: 400, code: 'invalid_value', json: { error: { param: 'replicas' } } });
    expect(doors.settings.get('about')).toBe('');
    await set({ replicas: null, inviteOnly: null, alertWebhook: null });
    expect([doors.settings.get('replicas'), doors.access.policy.inviteOnly]).toEqual([2, false]);
  });

  it('keeps donors and networks out with reason and end, and lets them in again', async () => {
    const { adminToken: admin } = doors.books;
    const ban = (body: object) => ask('POST', '/admin/bans', admin, body);
    expect(await ban({ network: '198.51.100.0/24', minutes: 60, reason: 'Too many tabs' })).toMatchObject({
      status: 201,
      json: { bans: [{ subject: 'network 198.51.100.0/24', reason: 'Too many tabs', by: 'first' }], quarantines: [] },
    });
    expect(doors.events.all().at(-1)!.text).toBe(
      'The operator (first, 127.0.0.1) banned network 198.51.100.0/24 for 60 min: Too many tabs',
    );
    expect(await ban({ network: 'everyone' })).toMatchObject({ status: 400, code: 'invalid_value' });
    expect(await ban({ network: '10.0.0.1', donor: '0123456789abcdef' })).toMatchObject({ status: 400 });
    expect(await ban({ donor: 'bob' })).toMatchObject({ status: 400, json: { error: { param: 'donor' } } });
    expect(await ban({ network: '10.0.0.1', minutes: 0 })).toMatchObject({ json: { error: { param: 'minutes' } } });
    const [made] = (await ask('GET', '/admin/bans', admin)).json!['bans'] as unknown as { id: number }[];
    expect(await ask('DELETE', `/admin/bans/${made!.id}`, admin)).toMatchObject({ status: 200, json: { bans: [] } });
    expect(await ask('DELETE', `/admin/bans/${made!.id}`, admin)).toMatchObject({ status: 404, code: 'not_found' });
    expect(await ask('DELETE', '/admin/quarantines/donor%20x', admin)).toMatchObject({ status: 404 });
    expect(await ask('GET', '/admin/bans', undefined)).toMatchObject({ status: 401 });
  });

  it('takes donors’ names away and dissolves teams, as events say', async () => {
    const { adminToken: admin } = doors.books;
    await sql`insert into teams (name, name_key) values ('Night owls', 'night owls')`.execute(database.db);
    const { rows } = await sql<{ id: number }>`select id from teams where name_key = 'night owls'`.execute(database.db);
    await sql`insert into donors (donor, name, name_key, listed, team) values ('d1', 'Ann', 'ann', true, ${rows[0]!.id})`.execute(
      database.db,
    );
    expect(await ask('DELETE', '/admin/names/ANN', undefined)).toMatchObject({ status: 401 });
    expect(await ask('DELETE', '/admin/names/ANN', admin)).toMatchObject({ status: 200, json: { done: true } });
    expect(doors.events.all().at(-1)!.text).toBe('The operator (first, 127.0.0.1) took the name ANN from a donor');
    expect(await ask('DELETE', '/admin/names/ANN', admin)).toMatchObject({ status: 404, code: 'not_found' });
    expect(await ask('DELETE', `/admin/teams/${rows[0]!.id}`, admin)).toMatchObject({ status: 200 });
    expect(doors.events.all().at(-1)!.text).toMatch(/ dissolved the team \d+$/);
    expect(await ask('DELETE', '/admin/teams/Night%20owls', admin)).toMatchObject({ status: 404, code: 'not_found' });
    const left = await sql`select name, listed, team from donors where donor = 'd1'`.execute(database.db);
    expect(left.rows).toEqual([{ name: null, listed: false, team: null }]);
  });

  it('makes keys that open the API, limits them while they are used, and revokes them', async () => {
    const { adminToken: admin } = doors.books;
    expect((await complete('anything')).status).toBe(200);
    const ann = await ask('POST', '/admin/keys', admin, { name: 'ann', tokensPerMinute: 500 });
    const key = String(ann.json!['token']);
    expect([(await complete('anything')).status, (await complete(key)).status]).toEqual([401, 200]);
    expect(await ask('PATCH', '/admin/keys/ann', admin, { requestsPerMinute: 1 })).toMatchObject({ status: 200 });
    expect([(await complete(key)).status, (await complete(key)).status]).toEqual([200, 429]);
    expect(doors.events.all().at(-1)!.text).toMatch(/^The operator \(first, 127\.0\.0\.1\) changed the API key ann/);
    for (const [path, body, wanted] of [
      ['/admin/keys', { name: 'ann' }, { status: 409, code: 'name_taken' }],
      ['/admin/keys', { name: 'a b' }, { status: 400, code: 'invalid_value' }],
      ['/admin/invites', { name: 'x', expires: 'tomorrow' }, { status: 400, code: 'invalid_value' }],
      ['/admin/admins', { name: 'x', tokensPerDay: 5 }, { status: 400, code: 'unknown_parameter' }],
    ] as const) {
      expect(await ask('POST', path, admin, body), path).toMatchObject(wanted);
    }
    expect(await ask('PATCH', '/admin/keys/bob', admin, {})).toMatchObject({ status: 404, code: 'not_found' });
    expect(await ask('DELETE', '/admin/keys/ann', admin)).toMatchObject({ status: 200 });
    expect(await complete(key)).toMatchObject({ status: 401, code: 'invalid_api_key' });
    expect(await ask('PATCH', '/admin/access', admin, { api: 'open' })).toMatchObject({
      json: { rules: { api: 'open' } },
    });
    expect((await complete('anything')).status).toBe(200);
  });

  it('counts what was used, for admins all of it, for a key its own, as JSON or CSV', async () => {
    const { adminToken: admin } = doors.books;
    await ask('PATCH', '/admin/access', admin, { api: null });
    zoe = String((await ask('POST', '/admin/keys', admin, { name: 'zoe' })).json!['token']);
    await complete(zoe);
    const figures = { requests: 1, refusals: 0, promptTokens: 5, completionTokens: 2 };
    const all = await ask('GET', '/admin/usage?by=key', admin);
    expect(all.json!['rows']).toEqual([
      { key: '', requests: 2, refusals: 0, promptTokens: 10, completionTokens: 4 },
      { key: 'ann', requests: 2, refusals: 1, promptTokens: 10, completionTokens: 4 },
      { key: 'zoe', ...figures },
    ]);
    expect((await ask('GET', '/v1/usage?by=model', zoe)).json!['rows']).toEqual([{ model: 'fake-model', ...figures }]);
    expect(await ask('GET', '/v1/usage?key=ann', zoe)).toMatchObject({ status: 403, code: 'not_your_key' });
    expect(await ask('GET', '/admin/usage', zoe)).toMatchObject({ status: 401 });
    expect(await ask('GET', '/admin/usage?from=yesterday', admin)).toMatchObject({ status: 400 });
    const csv = await ask('GET', '/admin/usage?by=key&key=zoe', admin, undefined, { headers: { accept: 'text/csv' } });
    expect(csv.text).toBe('key,requests,refusals,promptTokens,completionTokens\r\nzoe,1,0,5,2\r\n');
    await ask('PATCH', '/admin/access', admin, { api: 'open' });
    expect(await ask('GET', '/v1/usage', zoe)).toMatchObject({ status: 404, code: 'no_api_keys' });
  });

  it('holds a key to its day over a restart', async () => {
    const { adminToken: admin } = doors.books;
    await ask('PATCH', '/admin/access', admin, { api: null });
    await ask('PATCH', '/admin/keys/zoe', admin, { tokensPerDay: 6 });
    const next = await openDoors(shareDatabase(database)());
    try {
      const refused = await complete(zoe, next);
      expect(refused).toMatchObject({ status: 429, code: 'rate_limit_exceeded' });
      expect(refused.text).toContain('6 tokens per day (UTC)');
    } finally {
      await next.close();
    }
  });
});

describe('the commands', () => {
  const [key, invite, admin] = [entryCommands('keys'), entryCommands('invites'), entryCommands('admins')];

  it('make, list, show, limit and revoke entries', async () => {
    const made = await shoal(key, 'add', 'bob', '--tokens-per-day', '500', '--note', 'his bot');
    expect(made.out).toMatch(
      /^name    bob\nlimits  tokens-per-day 500\nmade    \S+ by first\nnote    his bot\ntoken   \S{32}\n/,
    );
    expect(await shoal(key, 'limit', 'bob', '--tokens-per-day=none', '--max-concurrent', '2')).toMatchObject({
      code: 0,
      out: expect.stringContaining('limits  max-concurrent 2\n'),
    });
    await complete(/token {3}(\S+)/.exec(made.out)![1]!);
    expect((await shoal(key, 'show', 'bob')).out).toMatch(/\ntoday +fake-model +1 +0 +5 +2\nmonth /);
    expect((await shoal(key, 'list')).out).toMatch(/^name {2}limits .*\nbob {3}max-concurrent 2 .* his bot\nzoe /);
    expect(await shoal(key, 'revoke', 'bob')).toMatchObject({ code: 0, out: 'bob was revoked.\n' });
    expect((await shoal(key, 'list')).out).not.toContain('bob');
    expect((await shoal(key, 'list', '--all')).out).toMatch(/bob .* revoked \d{4}-/);
    const link = await shoal(invite, 'add', 'class', '--expires', '2030-01-31T12:00:00Z', '--json');
    expect(JSON.parse(link.out)).toMatchObject({ entry: { name: 'class', expires: '2030-01-31T12:00:00Z' } });
    expect((await shoal(admin, 'limit', 'vera', '--role', 'operator')).out).toContain('limits  operator\n');
    expect((await shoal(runUsage, '--by', 'key', '--csv')).out).toMatch(/\r\nbob,1,0,5,2\r\n/);
    expect((await shoal(runAccess, 'set', '--tabs-per-donor', '2', '--swarm', 'open')).code).toBe(0);
    expect((await shoal(runAccess, 'show')).out).toMatch(
      /rules from +database\napi +keys\nswarm +open\n(.*\n)*tabs-per-donor +2\n/,
    );
  });

  it.each([
    [key, ['add'], 2, 'NAME is missing'],
    [key, ['add', 'a b'], 2, 'name must be 1 to 40 letters'],
    [key, ['add', 'x', '--tokens-per-day', '0'], 2, '--tokens-per-day takes a whole number'],
    [key, ['limit', 'zoe'], 2, 'Say what to change: --requests-per-minute'],
    [key, ['make', 'x'], 2, 'there is no "make"'],
    [invite, ['add', 'x', '--expires', 'tomorrow'], 2, 'takes a time like 2030-01-31T12:00:00Z'],
    [key, ['add', 'zoe'], 1, 'There is an API key "zoe" already'],
    [key, ['show', 'nobody'], 1, 'There is no API key "nobody"'],
    [runUsage, ['--by', 'week'], 2, '--by must be some of key, day, model'],
    [runAccess, ['set', '--api', 'closed'], 2, '--api takes keys, open'],
  ] as const)('say what is wrong and what to do (%#)', async (run, argv, code, words) => {
    const told = await shoal(run, ...argv);
    expect(told).toMatchObject({ code, out: expect.stringContaining(words) });
  });

  it('say that nobody is there, or that a token is wrong', async () => {
    let out = '';
    const io = {
      stdout: { write: (text: string) => (out += text) },
      stderr: { write: (text: string) => (out += text) },
    };
    expect(await key(['list', '--url', 'http://127.0.0.1:9', '--token', 'x'], io)).toBe(1);
    expect(await key(['list', '--url', doors.server.url, '--token', 'x'], io)).toBe(1);
    expect(await key(['list', '--database', 'none'], io)).toBe(2);
    expect(out).toMatch(
      /No coordinator answers at http:\/\/127\.0\.0\.1:9 .*\n.*not an admin token.*\n.*nothing is kept/,
    );
  });

  it('copy an access file into the database, also of a coordinator that has its rules from it', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'shoal-import-')), 'access.json');
    const rules = {
      apiKeys: [entry('kim', 'key-of-kim')],
      admins: [entry('otto', 'token-of-otto', { role: 'operator' })],
    };
    writeFileSync(path, JSON.stringify(rules), { mode: 0o600 });
    const filed = await openDoors(shareDatabase(database)(), { accessFile: path });
    try {
      const asOtto = (method: string, url: string, body?: object) =>
        ask(method, url, 'token-of-otto', body, { of: filed });
      expect((await asOtto('GET', '/admin/access')).json).toMatchObject({
        source: 'file',
        file: path,
        keys: [{ name: 'kim' }],
      });
      expect(await asOtto('POST', '/admin/keys', { name: 'x' })).toMatchObject({ status: 409, code: 'read_only' });
      expect((await complete(zoe, filed)).status).toBe(401);
      expect((await complete('key-of-kim', filed)).status).toBe(200);
      expect((await asOtto('GET', '/admin/usage?by=key&key=kim')).json).toMatchObject({
        rows: [{ key: 'kim', requests: 1 }],
      });
      let out = '';
      const io = {
        stdout: { write: (text: string) => (out += text) },
        stderr: { write: (text: string) => (out += text) },
      };
      expect(await runAccess(['import', path, '--url', filed.server.url, '--token', 'token-of-otto'], io)).toBe(0);
      expect(out).toContain('Copied 2 entries');
      await expect.poll(() => complete('key-of-kim').then(({ status }) => status), { timeout: 90_000 }).toBe(200);
    } finally {
      await filed.close();
    }
  });
});
