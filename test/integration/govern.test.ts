import type { CommandReply, ConsoleSnapshot, Dismissed, HelloReply, SettingValue } from '@shoal/protocol';
import { io, type Socket } from 'socket.io-client';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { type Database, shareDatabase, type SharedDatabase } from '../../coordinator/src/database/index.ts';
import { memoryDatabase } from '../../coordinator/src/database/testing/memory-database.ts';
import { type Coordinator, startCoordinator } from '../../coordinator/src/index.ts';
import { tinyConfig } from './tiny-coordinator.ts';
import { covered, hello, until, VirtualDonor } from './virtual-donor.ts';

const ADMIN = 'admin-of-this-coordinator';

let database: Database;
let share: () => SharedDatabase;
let shared: SharedDatabase;
let coordinator: Coordinator;
const sockets: Socket[] = [];
const donors: VirtualDonor[] = [];

beforeAll(async () => {
  database = await memoryDatabase();
  share = shareDatabase(database);
  await start();
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close();
  await Promise.all(donors.splice(0).map((donor) => donor.close()));
});
afterAll(async () => {
  await stop();
  await database.close();
});

async function start(): Promise<void> {
  shared = share();
  const config = tinyConfig({ port: 0, replicas: 1, drainTimeoutMs: 1_000, logLevel: 'silent', adminToken: ADMIN });
  coordinator = await startCoordinator(config, { sharedDatabase: shared });
}

async function stop(): Promise<void> {
  await coordinator.close();
  await shared.close();
}

function connect(namespace: 'donor' | 'console', auth: object = {}): Socket {
  const options = { auth, reconnection: false, forceNew: true, transports: ['websocket'] };
  const socket = io(`${coordinator.url}/${namespace}`, options);
  sockets.push(socket);
  return socket;
}

/** A page of a donor: what it is told when it is sent away, and its hello, which it says again on the same socket or on another. */
function donorPage(token: string) {
  let dismissed: Dismissed | undefined;
  const join = async (): Promise<HelloReply> => {
    const socket = connect('donor');
    socket.on('dismissed', (message: Dismissed) => (dismissed = message));
    return (await socket.timeout(10_000).emitWithAck('hello', hello(token.repeat(32), 2 ** 26, 0))) as HelloReply;
  };
  return { join, dismissed: () => dismissed };
}

async function set(changes: Record<string, SettingValue | null>): Promise<void> {
  const response = await fetch(`${coordinator.url}/admin/settings`, {
    method: 'PATCH',
    headers: { authorization: `Bearer ${ADMIN}`, 'content-type': 'application/json' },
    body: JSON.stringify(changes),
  });
  expect([response.status, await response.text()]).toEqual([200, expect.any(String)]);
}

const ask = (body: object): Promise<Response> =>
  fetch(`${coordinator.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'tiny-stories', prompt: 'Once upon a time', ignore_eos: true, ...body }),
  });

const command = async (console: Socket, message: object): Promise<CommandReply> =>
  (await console.timeout(10_000).emitWithAck('command', message)) as CommandReply;

it('settings act on a swarm at work, and are as they were set after a restart', async () => {
  for (let n = 0; n < 2; n++) donors.push(await VirtualDonor.join(coordinator));
  await until('all experts to be served', () => covered(coordinator));
  const twice = (): boolean =>
    donors.every(
      ({ session }) =>
        [...coordinator.swarm.servingAnywhere()].find((tab) => tab.peerId === session.peerId)?.live.size === 160,
    );
  expect(twice()).toBe(false);
  await set({ replicas: 2 });
  await until('both tabs to hold every expert', twice);

  await (await ask({ max_tokens: 4 })).text();
  expect(coordinator.dispatcher.figures.limitedChoices).toBe(0);
  await set({ deviceLimit: 1, auditShare: 0.5 });
  await (await ask({ max_tokens: 4 })).text();
  expect(coordinator.dispatcher.figures.limitedChoices).toBeGreaterThan(0);
  expect(coordinator.trust.leastAuditShare).toBe(0.5);

  await set({ drainAll: true });
  await until('all tabs to leave', () => coordinator.swarm.peers.length === 0);
  for (const { dismissed } of donors) expect(dismissed).toMatchObject({ code: 'drained', retry: true });
  expect((await ask({ max_tokens: 4 })).status).toBe(200);
  const page = donorPage('a');
  expect(await page.join()).toMatchObject({ ok: false, code: 'drained', retryAfterMs: expect.any(Number) });

  await stop();
  await start();
  const { settings } = coordinator;
  expect([settings.get('replicas'), settings.get('deviceLimit'), settings.get('drainAll')]).toEqual([2, 1, true]);
  expect(coordinator.trust.leastAuditShare).toBe(0.5);
  expect(await page.join()).toMatchObject({ ok: false, code: 'drained' });
  await set({ drainAll: false });
  expect(await page.join()).toMatchObject({ ok: true });
});

it('invited donors only: those that are there without an invitation are sent away, until it is switched off', async () => {
  const page = donorPage('b');
  expect(await page.join()).toMatchObject({ ok: true });
  await set({ inviteOnly: true });
  await until('it to be sent away', () => page.dismissed() !== undefined);
  expect(await page.join()).toMatchObject({ ok: false });
  await set({ inviteOnly: null });
  expect(await page.join()).toMatchObject({ ok: true });
});

it('a removed donor does not come back by asking again, a drained one does once that is lifted', async () => {
  const console = connect('console', { token: ADMIN });
  for (const [name, what, code, retry] of [
    ['c', 'remove', 'removed', false],
    ['d', 'drain', 'drained', true],
  ] as const) {
    const page = donorPage(name);
    expect(await page.join()).toMatchObject({ ok: true });
    const { peerId } = coordinator.swarm.peers.at(-1)!;
    expect(await command(console, { command: what, peerId })).toEqual({ ok: true });
    await until('it to be sent away', () => page.dismissed() !== undefined);
    expect(page.dismissed()).toMatchObject({ code, retry });
    for (let tries = 0; tries < 2; tries++) expect(await page.join()).toMatchObject({ ok: false, code });
    await coordinator.bans.lift(coordinator.bans.all.at(-1)!.id, 'otto');
    await until('it to be lifted', () => coordinator.bans.all.length === 0);
    expect(await page.join()).toMatchObject({ ok: true });
  }
});

it('a cancelled request ends its client’s stream with an error that says so, and no other', async () => {
  const console = connect('console', { token: ADMIN });
  const snapshots: ConsoleSnapshot[] = [];
  console.on('snapshot', (next: ConsoleSnapshot) => snapshots.push(next));
  const [endless, other] = [ask({ max_tokens: 490, stream: true }), ask({ max_tokens: 60, stream: true })];
  const reader = (await endless).body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = (await reader.read()).value!;
  // A completion may have several answers, each of which is a request of its own.
  const id = `${(JSON.parse(/^data: (.*)$/m.exec(text)![1]!) as { id: string }).id}-0`;
  expect(await command(console, { command: 'cancel-request', id })).toEqual({ ok: true });
  for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
  expect(text).toContain('"code":"cancelled_by_operator"');
  expect(text).not.toContain('"finish_reason":"length"');
  const whole = await (await other).text();
  expect(whole).toContain('"finish_reason":"length"');
  expect(whole).not.toContain('cancelled');
  await until('what came of it', () =>
    (snapshots.at(-1)?.requests ?? []).some((one) => one.id === id && one.state === 'cancelled'),
  );
  expect(await command(console, { command: 'cancel-request', id })).toMatchObject({ ok: false });
});
