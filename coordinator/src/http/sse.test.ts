import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EventStream, ReaderGoneError } from './sse.ts';

const SENDERS = 32;
/** More than a loopback connection takes before it is read. */
const CHUNK = 'x'.repeat(1 << 20);
const LARGE_CHUNKS = 16;

let close: (() => void) | undefined;
let raw: ServerResponse;
let socket: Socket;

/** A response that is not being read yet. */
beforeEach(async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  socket = connect((server.address() as AddressInfo).port, '127.0.0.1').pause();
  socket.write('GET / HTTP/1.1\r\nhost: s\r\n\r\n');
  [, raw] = (await once(server, 'request')) as [unknown, ServerResponse];
  close = () => {
    socket.destroy();
    server.close();
  };
});

afterEach(() => close?.());

const stream = (stallMs: number): EventStream => new EventStream(raw, { headers: {}, keepAliveMs: 60_000, stallMs });

async function fill(events: EventStream): Promise<readonly Promise<void>[]> {
  const sent = Array.from({ length: LARGE_CHUNKS }, () => events.send({ data: { text: CHUNK } }));
  for (const one of sent) one.catch(() => {});
  await new Promise((resolve) => setImmediate(resolve));
  expect(raw.writableNeedDrain).toBe(true);
  return sent;
}

describe('events to a reader who does not read', () => {
  it('wait together, with one listener for all senders', async () => {
    const events = stream(60_000);
    const large = await fill(events);
    const before = raw.listenerCount('close');
    const sent = Array.from({ length: SENDERS }, (_, i) => events.send({ data: { i } }));
    expect(raw.listenerCount('drain')).toBe(1);
    expect(raw.listenerCount('close')).toBe(before);
    socket.resume();
    await Promise.all([...large, ...sent]);
    expect(raw.listenerCount('drain')).toBe(0);
    events.end();
  });

  it('fail for all of them when it has lasted too long', async () => {
    const events = stream(50);
    await fill(events);
    const sent = Array.from({ length: SENDERS }, (_, i) => events.send({ data: { i } }));
    const outcomes = await Promise.allSettled(sent);
    const reasons = outcomes.map(
      (outcome) => outcome.status === 'rejected' && (outcome.reason as ReaderGoneError).reason,
    );
    expect(new Set(reasons)).toEqual(new Set(['stalled']));
    events.abandon();
  });
});
