import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { VERSION } from '../base/version.ts';
import { type HeldAddress, holdAddress, type StartProgress } from './held-address.ts';
import { OrderlyServer } from './orderly-server.ts';

const closeLater: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closeLater.splice(0)) await close();
});

async function hold(progress: () => StartProgress = () => ({ doing: 'packing experts' })): Promise<HeldAddress> {
  return holdAddress('127.0.0.1', 0, progress);
}

it('answers from the start on that the coordinator is alive, not ready, and what it does', async () => {
  let progress: StartProgress = { doing: 'packing experts', doneBytes: 1, totalBytes: 4 };
  const held = await hold(() => progress);
  closeLater.push(() => held.close());
  const get = async (path: string, init: RequestInit = {}): Promise<Response> =>
    fetch(`http://127.0.0.1:${held.port}${path}`, init);
  const healthy = await get('/healthz');
  expect([healthy.status, await healthy.json()]).toEqual([200, { status: 'starting', version: VERSION }]);
  const ready = await get('/readyz?x=1');
  expect([ready.status, await ready.json()]).toEqual([503, { ready: false, reason: 'starting', ...progress }]);
  progress = { doing: 'loading the model' };
  expect(await (await get('/readyz')).json()).toEqual({ ready: false, reason: 'starting', doing: 'loading the model' });
  const asked = await get('/v1/chat/completions', { method: 'POST', body: 'x'.repeat(1 << 16) });
  expect([asked.status, asked.headers.get('retry-after'), asked.headers.get('connection')]).toEqual([
    503,
    '5',
    'close',
  ]);
  expect(await asked.json()).toMatchObject({ error: { code: 'starting', type: 'server_error' } });
  const message = await get('/v1/messages', { method: 'POST', body: '{}' });
  expect(await message.json()).toMatchObject({ type: 'error', error: { type: 'overloaded_error' } });
});

it('refuses a taken port, and gives it back', async () => {
  const held = await hold();
  await expect(holdAddress('127.0.0.1', held.port, () => ({ doing: 'x' }))).rejects.toMatchObject({
    code: 'EADDRINUSE',
  });
  await held.close();
  const again = await holdAddress('127.0.0.1', held.port, () => ({ doing: 'x' }));
  await again.close();
});

it('takes the first free port of a range, and names the range when there is none', async () => {
  const held = await hold();
  closeLater.push(() => held.close());
  const progress = () => ({ doing: 'x' });
  const range = { first: held.port, last: held.port + 8 };
  const next = await holdAddress('127.0.0.1', range, progress);
  closeLater.push(() => next.close());
  expect(next.port).toBeGreaterThan(held.port);
  const two = { first: held.port, last: next.port };
  if (next.port === held.port + 1)
    await expect(holdAddress('127.0.0.1', two, progress)).rejects.toMatchObject({
      code: 'EADDRINUSE',
      message: `All ports of ${held.port}-${next.port} are in use`,
    });
});

it('waits for nobody who says too little', async () => {
  const held = await holdAddress('127.0.0.1', 0, () => ({ doing: 'x' }), 20);
  closeLater.push(() => held.close());
  for (const words of ['', 'GET /healthz HTTP/1.1\r\nHost:']) {
    const socket = connect(held.port, '127.0.0.1').resume();
    socket.write(words);
    await once(socket, 'close');
  }
});

it('hands the port over without a moment in which it is refused', async () => {
  const held = await hold();
  const asking = { answered: 0, isOver: false };
  const over = (async () => {
    while (!asking.isOver) {
      await (await fetch(`http://127.0.0.1:${held.port}/`)).text();
      asking.answered++;
    }
  })();
  const answers = async (more: number): Promise<void> => {
    const enough = asking.answered + more;
    while (asking.answered < enough) await new Promise((resolve) => setImmediate(resolve));
  };
  const options = { waitingPerConnection: 1, waitingInAll: 1, connections: 100, onOverflow: () => {} };
  const server = new OrderlyServer({ listener: held.listener, ...options });
  server.on('request', (_, response) => response.end('the next server'));
  await answers(3);
  server.listen(1, '192.0.2.1');
  if (!server.listening) await once(server, 'listening');
  await answers(5);
  asking.isOver = true;
  // It would have thrown.
  await over;
  held.handOver();
  expect(await (await fetch(`http://127.0.0.1:${held.port}/`)).text()).toBe('the next server');
  const closed = once(server, 'close');
  server.close();
  server.closeAllConnections();
  await closed;
  await expect(fetch(`http://127.0.0.1:${held.port}/`)).rejects.toThrow();
});
