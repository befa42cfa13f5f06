import { createHmac } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { AlertMessage, AlertsView, History } from '@shoal/protocol';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { shareDatabase } from '../../coordinator/src/database/index.ts';
import { memoryDatabase } from '../../coordinator/src/database/testing/memory-database.ts';
import { type Config, type Coordinator, startCoordinator } from '../../coordinator/src/index.ts';
import { startTinyCoordinator, tinyConfig } from './tiny-coordinator.ts';

const ADMIN = 'admin-of-this-coordinator';
const SECRET = 'of-the-webhook';

let hook: Server;
let hookStatus = 200;
const told: { body: string; signature: string; message: AlertMessage }[] = [];

beforeAll(async () => {
  hook = createServer((request, response) => {
    void text(request).then((body) => {
      const message = JSON.parse(body) as AlertMessage;
      told.push({ body, signature: String(request.headers['shoal-signature']), message });
      response.writeHead(hookStatus).end();
    });
  });
  await new Promise<void>((resolve) => hook.listen(0, '127.0.0.1', resolve));
});
afterAll(() => void hook.close());

const admin = async <T>({ url }: Coordinator, method: string, path: string, token = ADMIN): Promise<[number, T]> => {
  const response = await fetch(`${url}/admin/${path}`, { method, headers: { authorization: `Bearer ${token}` } });
  return [response.status, (await response.json()) as T];
};

async function answerTokens({ url }: Coordinator, count: number): Promise<void> {
  const body = { model: 'tiny-stories', prompt: 'Once upon a time', max_tokens: count, ignore_eos: true };
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body: JSON.stringify(body) });
  expect(response.status).toBe(200);
  await response.json();
}

it('the history goes on after a restart, is summed over coordinators, and is for admins alone', async () => {
  const database = await memoryDatabase();
  const share = shareDatabase(database);
  const start = async (port: number): Promise<Coordinator> => {
    const config: Config = tinyConfig({ port: 0, drainTimeoutMs: 1000, logLevel: 'silent', adminToken: ADMIN });
    const shared = share();
    const made = await startCoordinator(
      { ...config, port: { first: port, last: port } as Config['port'] },
      { sharedDatabase: shared },
    );
    return { ...made, close: () => made.close().then(() => shared.close()) };
  };
  const free = (await startTinyCoordinator()) satisfies Coordinator;
  const port = Number(new URL(free.url).port);
  await free.close();
  for (let starts = 1; starts <= 2; starts++) {
    const coordinator = await start(port);
    await answerTokens(coordinator, 8);
    await coordinator.close();
  }
  const last = await start(port);
  const [status, history] = await admin<History>(last, 'GET', 'history?range=1h');
  expect(status).toBe(200);
  expect(history).toMatchObject({ kept: 'database', stepS: 60, totals: { tokens: 16 } });
  expect(history.members).toEqual([last.joined.cluster.members.self.name]);
  const measured = history.points.flatMap((point) => (point === null ? [] : [point]));
  expect(measured.length).toBeGreaterThan(0);
  expect(measured.length).toBeLessThan(60);
  expect(measured.some(({ fallbackShare, firstTokenMsP95 }) => fallbackShare === 1 && firstTokenMsP95! > 0)).toBe(true);
  expect((await admin(last, 'GET', 'history?range=2h'))[0]).toBe(400);
  expect((await admin(last, 'GET', 'history', 'not-a-token'))[0]).toBe(401);
  await last.close();
  await database.close();
});

it('says without a database that the history is the process’s own, and what needs attention from its start on', async () => {
  const coordinator = await startTinyCoordinator({ adminToken: ADMIN });
  const [, history] = await admin<History>(coordinator, 'GET', 'history');
  expect(history).toMatchObject({ kept: 'process', totals: { sinceMs: null } });
  expect(coordinator.snapshots.build().attention).toMatchObject([{ key: 'no-tabs', text: 'No tab has joined' }]);
  const metrics = await (await fetch(`${coordinator.url}/metrics`)).text();
  expect(metrics).toContain('shoal_attention_items{severity="notice"} 1');
  expect((await admin(coordinator, 'POST', 'alerts/test'))[0]).toBe(409);
  await coordinator.close();
});

it('a test message is signed, and what came of it is told', async () => {
  const alertWebhook = new URL(`http://127.0.0.1:${(hook.address() as AddressInfo).port}/secret`);
  const coordinator = await startTinyCoordinator({ adminToken: ADMIN, alertWebhook, alertSecret: SECRET });
  expect(await admin(coordinator, 'POST', 'alerts/test')).toEqual([200, { delivered: true }]);
  const [{ body, signature, message }] = told as [(typeof told)[0]];
  const [, at, given] = /^t=(\d+),v1=(\w+)$/.exec(signature)!;
  expect(given).toBe(createHmac('sha256', SECRET).update(`${at}.${body}`).digest('hex'));
  expect(message).toMatchObject({ state: 'test', model: 'tiny-stories', text: expect.stringContaining('[test]') });
  hookStatus = 410;
  const [status, refusal] = await admin<{ error: { message: string } }>(coordinator, 'POST', 'alerts/test');
  expect([status, refusal.error.message]).toEqual([
    502,
    'The message was not delivered: the webhook answered with status 410.',
  ]);
  const [, view] = await admin<AlertsView>(coordinator, 'GET', 'alerts');
  // The path of a webhook is often its password.
  expect(JSON.stringify(view)).not.toContain('secret');
  expect(view).toMatchObject({ webhook: alertWebhook.host, isSigned: true });
  await coordinator.close();
});
