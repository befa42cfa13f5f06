import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { freeUdpPort } from './udp-port.ts';

const taken: Socket[] = [];
afterEach(() => {
  for (const socket of taken.splice(0)) socket.close();
});

async function take(port: number): Promise<number> {
  const socket = createSocket('udp4');
  taken.push(socket);
  socket.bind(port, '127.0.0.1');
  await once(socket, 'listening');
  return socket.address().port;
}

/** Two ports in a row, the second one free. */
async function takeOneOfTwo(): Promise<number> {
  for (;;) {
    const first = await take(0);
    if (await freeUdpPort({ first: first + 1, last: first + 1 }).catch(() => undefined)) return first;
  }
}

describe('freeUdpPort', () => {
  it('finds the port of a range that nothing uses, on any address', async () => {
    const first = await takeOneOfTwo();
    for (let n = 0; n < 8; n++) expect(await freeUdpPort({ first, last: first + 1 })).toBe(first + 1);
  });

  it('names the port or the range that is in use, and the remedy', async () => {
    const first = await takeOneOfTwo();
    await expect(freeUdpPort({ first, last: first })).rejects.toMatchObject({
      name: 'TransportError',
      reason: 'unavailable',
      message: expect.stringMatching(new RegExp(`^UDP port ${first} .*EADDRINUSE.*--udp-ports FIRST-LAST`)),
    });
    await take(first + 1);
    await expect(freeUdpPort({ first, last: first + 1 })).rejects.toThrow(`No UDP port of ${first}-${first + 1}`);
  });
});
