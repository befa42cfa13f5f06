import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
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
async function donorAt(
  address: string,
  change: (signal: Signal) => Signal[],
  { url } = coordinator,
): Promise<AcceptedPeer> {
  const socket: Socket = io(`${url}/donor`, {
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

/** A UDP socket on loopback, and the packets that it has got. */
async function victim(): Promise<{ port: number; packets: () => number; got: Buffer[] }> {
  const socket = createSocket('udp4');
  const got: Buffer[] = [];
  socket.on('message', (packet) => got.push(packet));
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  closing.push(() => socket.close());
  return { port: socket.address().port, packets: () => got.length, got };
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

/** Types of STUN messages. */
const [BINDING, ALLOCATE] = [0x0001, 0x0003];

it('asks STUN servers for its own address, and takes no place of the TURN server that it tells tabs of', async () => {
  const server = await victim();
  const urls = ['stun', 'turn', 'TURN'].map((scheme) => `${scheme}:127.0.0.1:${server.port}`);
  const login = { username: 'shoal', credential: 'the donors know it' };
  const other = await startTinyCoordinator({
    iceServers: [
      { urls, ...login },
      { urls: urls[1]!, ...login },
    ],
  });
  try {
    const peer = await donorAt('127.0.0.1', (signal) => [signal], other);
    await peer.link;
    const asked = (): number[] => server.got.map((packet) => packet.readUInt16BE(0));
    await until('several requests', () => asked().filter((type) => type === BINDING).length > 2);
    expect(asked()).not.toContain(ALLOCATE);
  } finally {
    await other.close();
  }
});

it('lets a tab go that found no way by UDP, and names the cause and the remedy to the operator', async () => {
  const socket: Socket = io(`${coordinator.url}/donor`, { transports: ['websocket'], forceNew: true });
  closing.push(() => socket.close());
  const reply = await socket.timeout(20_000).emitWithAck('hello', hello(randomBytes(16).toString('hex'), 2 ** 26));
  const { peerId } = reply as { peerId: string };
  const counts = { host: 2, srflx: 0, relay: 0 };
  const checks = { sent: 40, answered: 0, heard: 0 };
  socket.emit('no-path', { waitedMs: 15_000, own: counts, theirs: counts, checks, turn: { state: 'none' } });
  await until('the tab to be gone', () => !coordinator.swarm.peers.some((peer) => peer.peerId === peerId));
  const event = coordinator.events.all().find(({ text }) => text.startsWith(peerId) && text.includes('no way'));
  expect(event).toMatchObject({
    level: 'warning',
    text: expect.stringMatching(
      /found no way by UDP in 15 s. 40 UDP packets were sent.*only TCP is forwarded.*--udp-ports/,
    ),
  });
});
