import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { OrderlyServer } from './orderly-server.ts';

const REQUEST = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

let server: OrderlyServer;
/** What the server was asked for and has not answered. */
let open: ServerResponse[];
let overflows: number;
let clients: Socket[];

beforeEach(async () => {
  [open, overflows, clients] = [[], 0, []];
  server = new OrderlyServer({
    waitingPerConnection: 6,
    waitingInAll: 8,
    connections: 10,
    onOverflow: () => overflows++,
  });
  server.on('request', (_request, response) => open.push(response as ServerResponse));
  server.on('clientError', (_error, socket) => socket.destroy());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

async function client(): Promise<Socket> {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  clients.push(socket.on('error', () => {}));
  await once(socket, 'connect');
  return socket;
}

/** Resolves once the server has taken note of a burst of requests, the first of which it works on. */
async function send(socket: Socket, requests: number): Promise<ServerResponse> {
  const before = open.length;
  socket.write(REQUEST.repeat(requests));
  await expect.poll(() => open.length, { interval: 1 }).toBe(before + 1);
  return open.at(-1)!;
}

describe('OrderlyServer', () => {
  it('lets no unknown expectation past its rules', async () => {
    const socket = await client();
    const first = await send(socket, 1);
    const got: Buffer[] = [];
    socket.on('data', (bytes: Buffer) => got.push(bytes));
    socket.write(REQUEST.replace('Host', 'Expect: miracles\r\nHost'));
    first.end('first');
    await expect.poll(() => open.length, { interval: 1 }).toBe(2);
    const closed = once(socket, 'close');
    // Behind the second, one without a host, which is refused.
    socket.write(REQUEST.replace('Host: a', 'Expect: miracles'));
    open[1]!.end('second');
    await closed;
    expect(open).toHaveLength(2);
    expect(Buffer.concat(got).toString()).toMatch(/first[^]*HTTP\/1\.1 200 OK[^]*second/);
    expect(Buffer.concat(got).toString()).not.toContain('417');
  });

  it('bounds what waits on all connections together, and ends the one that goes beyond it', async () => {
    const [a, b] = [await client(), await client()];
    await send(a, 6);
    await send(b, 4);
    expect(overflows).toBe(0);
    const ended = once(b, 'close');
    b.write(REQUEST);
    await ended;
    expect([overflows, a.destroyed]).toEqual([1, false]);
  });

  it.each<[string, (socket: Socket, response: ServerResponse) => Promise<unknown>]>([
    ['is answered', answerAll],
    ['belongs to a client that leaves', (socket, response) => leave(response, () => socket.destroy())],
    [
      'comes after the last answer',
      (_, response) => leave(response, () => void response.setHeader('connection', 'close').end()),
    ],
  ])('counts a request no more that %s', async (_, end) => {
    for (let time = 0; time < 3; time++) {
      const socket = await client();
      await end(socket, await send(socket, 6));
    }
    const [a, b] = [await client(), await client()];
    await send(a, 6);
    await send(b, 4);
    expect(overflows).toBe(0);
  });

  it('closes the connection that has been idle longest when there are many, and none that is at work', async () => {
    const closed: number[] = [];
    const connectAs = async (name: number): Promise<Socket> => {
      const socket = await client();
      // Its end is noticed only by those who read.
      return socket.resume().once('close', () => closed.push(name));
    };
    const working = await connectAs(0);
    await send(working, 1);
    const kept: Socket[] = [];
    for (let name = 1; name < 9; name++) {
      kept.push(await connectAs(name));
      (await send(kept.at(-1)!, 1)).end();
    }
    // The first that was kept is used again.
    (await send(kept[0]!, 1)).end();
    expect(closed).toEqual([]);
    for (let name = 9; name < 12; name++) {
      kept.push(await connectAs(name));
      await expect.poll(() => closed.length, { interval: 1 }).toBe(name - 8);
    }
    expect(closed).toEqual([2, 3, 4]);
    (await send(kept[0]!, 1)).end();
    (await send(kept.at(-1)!, 1)).end();
    expect(working.destroyed).toBe(false);
  });
});

async function answerAll(_socket: Socket, response: ServerResponse): Promise<void> {
  for (let next: ServerResponse | undefined = response, answered = 0; answered < 6; answered++) {
    const before = open.length;
    next.end();
    if (answered < 5) await expect.poll(() => open.length, { interval: 1 }).toBe(before + 1);
    next = open.at(-1)!;
  }
}

async function leave(response: ServerResponse, end: () => void): Promise<void> {
  const closed = once(response, 'close');
  end();
  await closed;
  // The server lets go in another turn.
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
}
