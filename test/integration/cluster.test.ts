import type { Command, CommandReply, ConsoleEvent, ConsoleSnapshot, HelloReply } from '@shoal/protocol';
import { io, type Socket } from 'socket.io-client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Database, shareDatabase, type SharedDatabase } from '../../coordinator/src/database/index.ts';
import { memoryDatabase } from '../../coordinator/src/database/testing/memory-database.ts';
import { type Coordinator, startCoordinator } from '../../coordinator/src/index.ts';
import { tinyConfig } from './tiny-coordinator.ts';
import { hello, until } from './virtual-donor.ts';

const ADMIN = 'admin-of-both-coordinators';
const DONOR = 'd'.repeat(32);

let database: Database;
const shares: SharedDatabase[] = [];
const coordinators: Coordinator[] = [];
const sockets: Socket[] = [];
let snapshot: ConsoleSnapshot | undefined;
const events: ConsoleEvent[] = [];

beforeAll(async () => {
  database = await memoryDatabase();
  const share = shareDatabase(database);
  for (let n = 0; n < 2; n++) {
    const config = tinyConfig({ port: 0, drainTimeoutMs: 1000, logLevel: 'silent', adminToken: ADMIN });
    shares.push(share());
    coordinators.push(await startCoordinator(config, { sharedDatabase: shares[n]! }));
  }
  const console = connect(1, 'console', { token: ADMIN });
  console.on('snapshot', (next: ConsoleSnapshot) => (snapshot = next));
  console.on('events', (news: ConsoleEvent[]) => events.push(...news));
});

afterAll(async () => {
  for (const socket of sockets) socket.close();
  await Promise.all(coordinators.map((one) => one.close()));
  for (const one of [...shares, database]) await one.close();
});

function connect(coordinator: number, namespace: 'donor' | 'console', auth: object = {}): Socket {
  const options = { auth, reconnection: false, forceNew: true, transports: ['websocket'] };
  const socket = io(`${coordinators[coordinator]!.url}/${namespace}`, options);
  sockets.push(socket);
  return socket;
}

const join = async (coordinator: number, tab: number): Promise<HelloReply> =>
  (await connect(coordinator, 'donor')
    .timeout(10_000)
    .emitWithAck('hello', hello(DONOR, 2 ** 26, tab))) as HelloReply;

const command = async (message: Command): Promise<CommandReply> =>
  (await sockets[0]!.timeout(10_000).emitWithAck('command', message)) as CommandReply;

const names = () => coordinators.map(({ joined }) => joined.cluster.members.self.name);

it('a console shows all coordinators, their tabs and their events, wherever it is connected', async () => {
  expect(await join(0, 0)).toMatchObject({ ok: true });
  await until('the console to show the tab of the other', () => snapshot?.peers.length === 1);
  const [first, second] = names();
  expect(snapshot!.peers[0]!.coordinator).toBe(first);
  expect(snapshot!.coordinators).toMatchObject(
    [
      { name: first, isSelf: false, isLeader: true, state: 'alone', figures: { tabs: 1 } },
      { name: second, isSelf: true, isLeader: false, state: 'alone', figures: { tabs: 0 } },
    ].toSorted((a, b) => idOf(a.name!).localeCompare(idOf(b.name!))),
  );
  coordinators[0]!.events.add({ level: 'info', kind: 'server', text: 'Something happened' });
  await until('its event', () =>
    events.some(({ text, coordinator }) => text === 'Something happened' && coordinator === first),
  );
});

const idOf = (name: string): string =>
  coordinators.find(({ joined }) => joined.cluster.members.self.name === name)!.joined.cluster.members.self.id;

it('commands go to where the tab is, and come back with an answer', async () => {
  const { peerId } = snapshot!.peers[0]!;
  expect(await command({ command: 'remove', peerId })).toEqual({ ok: true });
  expect(coordinators[0]!.swarm.peers).toHaveLength(0);
  const gone = { ok: false, message: expect.stringContaining('no longer in the swarm') };
  expect(await command({ command: 'drain', peerId })).toMatchObject(gone);
});

it('a donor whose results one has found wrong is out at both', async () => {
  expect(await join(1, 1)).toMatchObject({ ok: true });
  const { donorId, address } = coordinators[1]!.swarm.peers[0]!;
  coordinators[0]!.trust.exclude({ donorId, address });
  await until('its tab to be sent away', () => coordinators[1]!.swarm.peers.length === 0);
  expect(await join(1, 2)).toMatchObject({ ok: false, code: 'banned' });
});

it('cut off from the database both go on; mended, they know each other again', async () => {
  for (const share of shares) share.cut();
  await until('both to notice', () => coordinators.every(({ joined }) => joined.cluster.members.isCut));
  await until(
    'the console to say so',
    () => snapshot?.attention.some(({ text }) => text.includes('cannot reach the database')) ?? false,
  );
  expect(await (await fetch(`${coordinators[0]!.url}/readyz`)).json()).toMatchObject({
    cluster: { isCut: true, members: 2 },
  });
  for (const share of shares) share.heal();
  await until('both to be back', () => coordinators.every(({ joined }) => !joined.cluster.members.isCut));
  // Messages arrive again once the other listens again, which is a moment later.
  const again = setInterval(() => coordinators[0]!.events.add({ level: 'info', kind: 'server', text: 'Mended' }), 50);
  await until('an event over the mended bus', () => events.some(({ text }) => text === 'Mended'));
  clearInterval(again);
});
