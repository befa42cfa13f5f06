import { memoryLinkPair } from '@shoal/transport';
import { expect, it } from 'vitest';
import { linkBytes, WireMeter } from './wire-meter.ts';

it('WireMeter counts the bytes of links, including message headers, and those of links that have ended', async () => {
  const meter = new WireMeter();
  const { a, b } = memoryLinkPair();
  const arrived = new Promise((resolve) => (b.onFrame = resolve));
  await a.send(new Uint8Array(20_000));
  await arrived;
  const answered = new Promise((resolve) => (a.onFrame = resolve));
  await b.send(new Uint8Array(100));
  await answered;
  // Nine fragments with 8 B extra each, a whole frame with 4 B.
  const peer = { link: a, testBytes: 50 };
  expect(meter.read([peer])).toEqual({ sent: 20_072, received: 104, tests: 50 });
  expect(linkBytes(a)).toBe(20_176);
  meter.end(peer);
  expect(meter.read([])).toEqual({ sent: 20_072, received: 104, tests: 50 });
  expect(meter.read([peer, { link: undefined, testBytes: 0 }])).toEqual({ sent: 40_144, received: 208, tests: 100 });
  a.close();
});
