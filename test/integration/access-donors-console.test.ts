import type { ConsoleRole, Dismissed, HelloReply } from '@shoal/protocol';
import { io, type Socket } from 'socket.io-client';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { entry } from '../../coordinator/src/access/testing/fixtures.ts';
import type { Coordinator } from '../../coordinator/src/index.ts';
import { type Guarded, LIMITS, RULES, startGuarded } from './access-rules.ts';
import { hello, until } from './virtual-donor.ts';

let guarded: Guarded;
let coordinator: Coordinator;
const sockets: Socket[] = [];

beforeAll(async () => {
  guarded = await startGuarded();
  ({ coordinator } = guarded);
});
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.close();
});
afterAll(() => coordinator?.close());

function connect(namespace: 'donor' | 'console', from: string, auth: object = {}): Socket {
  const socket = io(`${coordinator.url}/${namespace}`, {
    auth,
    reconnection: false,
    forceNew: true,
    transports: ['websocket'],
    extraHeaders: { 'x-forwarded-for': from },
  });
  sockets.push(socket);
  return socket;
}

const pledge = 2 ** 26;
const nameOf = (letter: string): string => letter.repeat(32);

async function enter(from: string, donor: string, inviteToken?: string): Promise<HelloReply & { socket: Socket }> {
  const socket = connect('donor', from);
  const message = { ...hello(nameOf(donor), pledge), ...(inviteToken !== undefined && { inviteToken }) };
  const reply = (await socket.timeout(10_000).emitWithAck('hello', message)) as HelloReply;
  return { ...reply, socket };
}

const gone = () => until('all tabs to be gone', () => coordinator.swarm.peers.length === 0);
const dismissal = (socket: Socket): Promise<Dismissed> => new Promise((resolve) => socket.once('dismissed', resolve));

describe('donors', () => {
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.close();
    await gone();
  });

  it('need an invitation, and are told so', async () => {
    for (const [token, words] of [
      [undefined, 'invited donors only'],
      ['invite-for-nobody', 'unknown or was withdrawn'],
      ['key-of-ann', 'unknown or was withdrawn'],
    ] as const) {
      expect(await enter('10.2.0.1', 'a', token)).toMatchObject({
        ok: false,
        code: 'invite',
        message: expect.stringContaining(words),
      });
    }
    expect(coordinator.swarm.peers).toHaveLength(0);
    expect(await enter('10.2.0.1', 'a', 'invite-for-class')).toMatchObject({ ok: true });
    expect(coordinator.swarm.peers[0]?.address).toBe('10.2.0.1');
  });

  it('share an invitation for two', async () => {
    await enter('10.2.1.1', 'a', 'invite-for-pair');
    const second = await enter('10.2.1.2', 'b', 'invite-for-pair');
    expect(await enter('10.2.1.3', 'c', 'invite-for-pair')).toMatchObject({ ok: false, code: 'invite' });
    second.socket.emit('intent', { intent: 'leave' });
    await until('the second to leave', () => coordinator.swarm.peers.length === 1);
    expect(await enter('10.2.1.3', 'c', 'invite-for-pair')).toMatchObject({ ok: true });
  });

  it('of one address are limited, and the same donor in a new tab takes no further place', async () => {
    for (const donor of ['a', 'b', 'c'])
      expect(await enter('10.2.2.1', donor, 'invite-for-class')).toMatchObject({ ok: true });
    expect(await enter('10.2.2.1', 'd', 'invite-for-class')).toMatchObject({ ok: false, code: 'limit' });
    expect(await enter('10.2.2.1', 'c', 'invite-for-class')).toMatchObject({ ok: true });
    expect(await enter('10.2.2.2', 'd', 'invite-for-class')).toMatchObject({ ok: true });
  });

  it('that only say hello make way for another of their address after a while', async () => {
    const first = await enter('10.2.5.1', 'a', 'invite-for-class');
    for (const donor of ['b', 'c']) await enter('10.2.5.1', donor, 'invite-for-class');
    const farewell = dismissal(first.socket);
    expect(await enter('10.2.5.1', 'd', 'invite-for-class')).toMatchObject({ ok: false, code: 'limit' });
    const tryAgain = async (): Promise<boolean> => (await enter('10.2.5.1', 'd', 'invite-for-class')).ok;
    await expect.poll(tryAgain, { interval: 500, timeout: 30_000 }).toBe(true);
    expect(await farewell).toMatchObject({ code: 'timeout', retry: true });
    expect(coordinator.swarm.peers).toHaveLength(3);
  });

  it('of one address join so often a minute, whatever came of it', async () => {
    const codes: string[] = [];
    for (let attempt = 0; attempt < 22; attempt++) {
      const reply = await enter('10.2.3.1', 'a', `guess-number-${attempt}`);
      codes.push(reply.ok ? 'ok' : reply.code);
    }
    expect(codes.filter((code) => code === 'invite').length).toBeGreaterThanOrEqual(LIMITS.joinsPerMinutePerAddress);
    expect(codes).toContain('limit');
  });

  it('whose invitation is withdrawn are sent away, and the others stay', async () => {
    const withdrawn = await enter('10.2.4.1', 'a', 'invite-for-pair');
    await enter('10.2.4.2', 'b', 'invite-for-class');
    const farewell = dismissal(withdrawn.socket);
    guarded.write({ ...RULES, invites: RULES.invites.filter(({ name }) => name !== 'pair') });
    try {
      // The file is watched.
      expect(await farewell).toMatchObject({ code: 'removed', retry: false });
      expect(coordinator.swarm.peers.map((peer) => peer.address)).toEqual(['10.2.4.2']);
      expect(
        coordinator.events
          .all()
          .map((event) => event.text)
          .join('\n'),
      ).toContain('invites − pair');
    } finally {
      guarded.write(RULES);
      coordinator.access.reload();
    }
  });
});

describe('the console', () => {
  const signIn = async (token: string, from = '10.3.0.1') => {
    const socket = connect('console', from, { token });
    const outcome = await new Promise<ConsoleRole | string>((resolve) => {
      socket.once('role', resolve);
      socket.once('connect_error', (error) => resolve(error.message));
    });
    return { socket, outcome };
  };
  const command = (socket: Socket, message: object): Promise<unknown> =>
    socket.timeout(10_000).emitWithAck('command', message);

  it('shows everything to a viewer, and takes commands from an operator alone', async () => {
    const vera = await signIn('token-of-vera');
    expect(vera.outcome).toEqual({ name: 'vera', role: 'viewer' });
    await new Promise((resolve) => vera.socket.once('snapshot', resolve));
    const otto = await signIn('token-of-otto');
    expect(otto.outcome).toEqual({ name: 'otto', role: 'operator' });
    const donor = await enter('10.3.1.1', 'a', 'invite-for-class');
    const farewell = dismissal(donor.socket);
    const remove = { command: 'remove', peerId: coordinator.swarm.peers[0]!.peerId };
    expect(await command(vera.socket, remove)).toMatchObject({ ok: false, message: expect.stringContaining('vera') });
    expect(coordinator.swarm.peers).toHaveLength(1);
    expect(await command(otto.socket, remove)).toEqual({ ok: true });
    const load = { command: 'load-adapter', name: 'letters', path: 'letters' };
    expect(await command(vera.socket, load)).toMatchObject({ ok: false, message: expect.stringContaining('vera') });
    expect(await command(otto.socket, load)).toMatchObject({ message: expect.stringContaining('--adapter-dir') });
    expect(await farewell).toMatchObject({ code: 'removed' });
  });

  it('follows a change of the rules: another role, or no way in any more', async () => {
    const vera = await signIn('token-of-vera');
    const otto = await signIn('token-of-otto');
    const role = new Promise((resolve) => vera.socket.once('role', resolve));
    // What the console then reads again.
    const told = new Promise<void>((resolve) => vera.socket.once('access', resolve));
    const out = new Promise((resolve) => otto.socket.once('disconnect', resolve));
    try {
      guarded.write({ ...RULES, admins: [entry('vera', 'token-of-vera', { role: 'operator' })] });
      coordinator.access.reload();
      expect(await role).toEqual({ name: 'vera', role: 'operator' });
      await told;
      await out;
      expect((await signIn('token-of-otto')).outcome).toContain('not an admin token');
    } finally {
      guarded.write(RULES);
      coordinator.access.reload();
    }
  });

  it('makes an address that guesses wait, and no other', async () => {
    const outcomes: string[] = [];
    for (let guess = 0; guess < 12; guess++)
      outcomes.push(String((await signIn(`guess ${guess}`, '10.3.2.1')).outcome));
    expect(outcomes.at(-1)).toContain('Too many wrong tokens');
    expect((await signIn('token-of-otto', '10.3.2.1')).outcome).toContain('Too many wrong tokens');
    expect((await signIn('token-of-otto', '10.3.2.2')).outcome).toMatchObject({ role: 'operator' });
  });

  it('has no generated token where the file names the admins', () => {
    expect(coordinator.adminToken).toBeUndefined();
  });
});

describe('the metrics', () => {
  const status = async (headers: Record<string, string>): Promise<number> =>
    (await fetch(`${coordinator.url}/metrics`, { headers })).status;
  const bearer = (token: string, from = '10.5.0.1') => ({ authorization: `Bearer ${token}`, 'x-forwarded-for': from });

  it('are for admins of either role, where the file names any', async () => {
    const refused = await fetch(`${coordinator.url}/metrics`);
    expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
    expect(await refused.text()).toContain('a viewer’s or operator’s token');
    expect(await status(bearer('key-of-ann'))).toBe(401);
    for (const token of ['token-of-vera', 'token-of-otto']) expect(await status(bearer(token))).toBe(200);
  });

  it('let nobody guess', async () => {
    for (let guess = 0; guess < 10; guess++) await status(bearer(`guess-${guess}`, '10.5.0.2'));
    expect(await status(bearer('token-of-vera', '10.5.0.2'))).toBe(401);
    expect(await status(bearer('token-of-vera', '10.5.0.3'))).toBe(200);
  });

  it('are open again where the file says so', async () => {
    guarded.write({ ...RULES, metrics: 'open' });
    coordinator.access.reload();
    expect(await status({})).toBe(200);
    guarded.write(RULES);
    coordinator.access.reload();
    expect(await status({})).toBe(401);
  });
});

it('counts refused sign-ins, invitations and limits', async () => {
  const metrics = await guarded.metricsText();
  for (const what of ['sign-in', 'invite', 'limit']) {
    expect(metrics).toMatch(new RegExp(`shoal_access_refusals_total\\{what="${what}"\\} [1-9]`));
  }
});

it('an address has so many connections at a time, over all namespaces', async () => {
  const open = async (from: string): Promise<number> => {
    const response = await fetch(`${coordinator.url}/socket.io/?EIO=4&transport=polling`, {
      headers: { 'x-forwarded-for': from },
    });
    await response.text();
    return response.status;
  };
  const statuses: number[] = [];
  for (let connection = 0; connection < 70; connection++) statuses.push(await open('10.4.0.1'));
  // One for each of the three tabs that it may have, and 64 more.
  expect(statuses.filter((status) => status === 200)).toHaveLength(67);
  expect(statuses.at(-1)).toBe(403);
  expect(await open('10.4.0.2')).toBe(200);
});
