import { randomBytes } from 'node:crypto';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import type { Signal } from '@shoal/protocol';
import { type AcceptedPeer, acceptPeer, loadRtc, type RtcImplementation } from '@shoal/transport/node';
import { io, type Socket } from 'socket.io-client';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import type { Coordinator } from '../../coordinator/src/index.ts';
import { startTinyCoordinator } from './tiny-coordinator.ts';
import { hello, until } from './virtual-donor.ts';

let coordinator: Coordinator;
let rtc: RtcImplementation;
const closing: (() => void)[] = [];

beforeAll(async () => {
  // simple-peer warns of candidates that it cannot use.
  vi.spyOn(console, 'warn').mockImplementation(() => {});
  coordinator = await startTinyCoordinator({ trustProxy: true });
  rtc = await loadRtc(['wrtc']);
});
afterAll(async () => {
  for (const close of closing) close();
  await coordinator.close();
  rtc.close();
});

/** A donor whose proxy says where it is. Its signals reach the coordinator as `change` has them. */
async function donorAt(address: string, change: (signal: Signal) => Signal[]): Promise<AcceptedPeer> {
  const socket: Socket = io(`${coordinator.url}/donor`, {
    transports: ['websocket'],
    forceNew: true,
    extraHeaders: { 'x-forwarded-for': address },
  });
  const introduction = hello(randomBytes(16).toString('hex'), 2 ** 26);
  expect(await socket.timeout(20_000).emitWithAck('hello', introduction)).toMatchObject({ ok: true });
  const peer = acceptPeer({
    rtc,
    iceServers: [],
    initiator: true,
    onSignal: (signal) => change(signal).forEach((changed) => socket.emit('signal', changed)),
  });
  socket.on('signal', (signal: Signal) => setImmediate(() => peer.signal(signal)));
  closing.push(() => {
    peer.close();
    socket.close();
  });
  return peer;
}

/** A UDP socket on loopback, and how many packets it has got. */
async function victim(): Promise<{ socket: UdpSocket; port: number; packets: () => number }> {
  const socket = createSocket('udp4');
  let packets = 0;
  socket.on('message', () => packets++);
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  closing.push(() => socket.close());
  return { socket, port: socket.address().port, packets: () => packets };
}

/** Names a target as the only candidate, in the description and trickled. */
const naming =
  (host: string, port: number) =>
  (signal: Signal): Signal[] => {
    if (signal.type === 'candidate') return [];
    const candidate = `candidate:1 1 udp 2130706431 ${host} ${port} typ host`;
    const sdp = signal.sdp.replaceAll(/a=candidate.*\r\n/g, '');
    return [
      { ...signal, sdp: `${sdp}a=${candidate}\r\na=remote-candidates:1 ${host} ${port}\r\n` },
      { type: 'candidate', candidate: { candidate, sdpMid: '0', sdpMLineIndex: 0 } },
    ];
  };

it('sends nothing to loopback for a donor elsewhere, by address or by name, and does for one on this machine', async () => {
  const [byAddress, byName, own] = [await victim(), await victim(), await victim()];
  await donorAt('8.8.8.8', naming('127.0.0.1', byAddress.port));
  await donorAt('8.8.8.8', naming('localhost', byName.port));
  await donorAt('127.0.0.1', naming('127.0.0.1', own.port));
  await until('a packet to the donor on this machine', () => own.packets() > 0);
  // The first packet to each comes within milliseconds of its description, and more follow.
  await until('several more', () => own.packets() > 3);
  expect([byAddress.packets(), byName.packets()]).toEqual([0, 0]);
});

it('connects a donor none of whose candidates may be used, since its own packets tell where it is', async () => {
  const peer = await donorAt('8.8.8.8', (signal) => [signal]);
  expect((await peer.link).state).toBe('open');
});
