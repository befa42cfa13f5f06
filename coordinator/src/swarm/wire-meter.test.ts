import { memoryLinkPair } from '@shoal/transport';
import { expect, it } from 'vitest';
import { linkBytes, WireMeter } from './wire-meter.ts';

it('counts what passed the links, headers and signals included, of those that are gone as well', async () => {
  const meter = new WireMeter();
  const { a, b } = memoryLinkPair();
  const arrived = new Promise((resolve) => (b.onFrame = resolve));
  await a.send(new Uint8Array(20_000));
  await arrived;
  const answered = new Promise((resolve) => (a.onFrame = resolve));
  await b.send(new Uint8Array(100));
  await answered;
  // Two fragments of 8 B more each, and a whole frame of 4 B more.
  const peer = { link: a, testBytes: 50 };
  expect(meter.read([peer])).toEqual({ sent: 20_016, received: 104, tests: 50 });
  expect(linkBytes(a)).toBe(20_120);
  meter.end(peer);
  expect(meter.read([])).toEqual({ sent: 20_016, received: 104, tests: 50 });
  expect(meter.read([peer, { link: undefined, testBytes: 0 }])).toEqual({ sent: 40_032, received: 208, tests: 100 });
  a.close();
});
