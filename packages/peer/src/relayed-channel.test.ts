import { FramedChannel, memoryChannelPair } from '@shoal/transport';
import { expect, it } from 'vitest';
import { relayChannel, RelayedChannel } from './relayed-channel.ts';

function relayedPair() {
  const wire = memoryChannelPair({ aToB: { bytesPerSecond: 20e6 }, bToA: { bytesPerSecond: 20e6 } });
  const { port1, port2 } = new MessageChannel();
  relayChannel(wire.b as unknown as RTCDataChannel, port1 as unknown as MessagePort);
  const far = new FramedChannel(wire.a);
  const near = new FramedChannel(new RelayedChannel(port2 as unknown as MessagePort));
  return { wire, far, near, done: () => (port1.close(), port2.close()) };
}

it('carries frames both ways whole, with backpressure for those larger than the buffers', async () => {
  const { far, near, done } = relayedPair();
  const frame = (fill: number) => new Uint8Array(1_000_000).fill(fill);
  const atFar: number[] = [];
  const atNear: number[] = [];
  const arrived = new Promise<void>((resolve) => {
    const check = () => atFar.length === 3 && atNear.length === 3 && resolve();
    far.onFrame = (bytes) => (atFar.push(bytes[999_999]!), check());
    near.onFrame = (bytes) => (atNear.push(bytes[999_999]!), check());
  });
  await Promise.all([1, 2, 3].flatMap((fill) => [far.send(frame(fill)), near.send(frame(fill + 10))]));
  await arrived;
  expect(atFar.sort()).toEqual([11, 12, 13]);
  expect(atNear.sort()).toEqual([1, 2, 3]);
  done();
});

it('passes on a close from either side', async () => {
  const first = relayedPair();
  const nearClosed = new Promise((resolve) => (first.near.onClose = resolve));
  await first.far.send(new Uint8Array(8));
  first.far.close();
  expect(await nearClosed).toBe('remote-closed');
  first.done();

  const second = relayedPair();
  const farClosed = new Promise((resolve) => (second.far.onClose = resolve));
  await second.near.send(new Uint8Array(8));
  second.near.close('goodbye');
  expect(await farClosed).toBe('goodbye');
  second.done();
});
