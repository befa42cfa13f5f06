import { once } from 'node:events';
import { connect } from 'node:net';
import { io, type Socket } from 'socket.io-client';
import { afterEach, describe, expect, it } from 'vitest';
import type { Config, Coordinator } from '../../coordinator/src/index.ts';
import { urlOf } from '../../coordinator/src/index.ts';
import { GOLDEN } from './golden.ts';
import { hello } from './virtual-donor.ts';
import { startTinyCoordinator } from './tiny-coordinator.ts';

let coordinator: Coordinator | undefined;
const sockets: Socket[] = [];

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close();
  await coordinator?.close();
  coordinator = undefined;
});

async function start(options: Partial<Config> = {}): Promise<Coordinator> {
  coordinator = await startTinyCoordinator({
    replicas: 1,
    ...options,
  });
  return coordinator;
}

function donor(url: string): Socket {
  const socket = io(`${url}/donor`, { reconnection: false, forceNew: true, transports: ['websocket'] });
  sockets.push(socket);
  return socket;
}

/** True if `work` ends before a bound that only a hang would reach. */
async function ends(work: Promise<unknown>, boundMs = 20_000): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const bound = new Promise<false>((resolve) => (timer = setTimeout(() => resolve(false), boundMs)));
  const ended = await Promise.race([work.then(() => true), bound]);
  clearTimeout(timer);
  return ended;
}

describe('Coordinator.close', () => {
  it('waits for no connection that says nothing, nor for one that is kept alive', async () => {
    const { url, close } = await start();
    const silent = connect(Number(new URL(url).port), '127.0.0.1');
    silent.on('error', () => {});
    await once(silent, 'connect');
    await (await fetch(`${url}/healthz`)).text();
    expect(await ends(close())).toBe(true);
    silent.destroy();
  });

  it('lets a running answer end first, or ends it with an error the client can read', async () => {
    const { url, close } = await start({ drainTimeoutMs: 0 });
    const response = await fetch(`${url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'tiny-stories', prompt: GOLDEN[3]!.prompt, max_tokens: 400, stream: true }),
    });
    const closed = close();
    expect(await response.text()).toContain('"error"');
    expect(await ends(closed)).toBe(true);
  });
});

describe('DonorGateway: a donor', () => {
  it('cannot bring the coordinator down by coming where WebRTC is set up wrongly', async () => {
    const { url, swarm } = await start({ iceServers: [{ urls: 'nonsense:host' }] });
    const socket = donor(url);
    const dismissed = new Promise((resolve) => socket.once('dismissed', resolve));
    expect(await socket.timeout(5_000).emitWithAck('hello', hello('w'.repeat(32), 2 ** 26))).toMatchObject({
      ok: true,
    });
    expect(await dismissed).toMatchObject({ code: 'timeout', retry: true });
    expect(swarm.peers).toHaveLength(0);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
  });

  it('that was refused does not keep its socket', async () => {
    const { url } = await start();
    const socket = donor(url);
    const gone = new Promise<void>((resolve) => socket.once('disconnect', () => resolve()));
    const reply: unknown = await socket.timeout(5_000).emitWithAck('hello', hello('s'.repeat(32), 1));
    expect(reply).toMatchObject({ ok: false, code: 'too-small' });
    expect(await ends(gone)).toBe(true);
  });
});

describe('Coordinator.url, the printed address,', () => {
  it('is one that a browser on this machine can open', () => {
    expect(urlOf('0.0.0.0', 8787)).toBe('http://localhost:8787');
    expect(urlOf('::', 8787)).toBe('http://localhost:8787');
    expect(urlOf('::1', 8787)).toBe('http://[::1]:8787');
    expect(urlOf('192.0.2.7', 80)).toBe('http://192.0.2.7:80');
  });
});
