import { afterAll, describe } from 'vitest';
import { memoryLinkPair, type FramedChannel } from '@shoal/transport';
import { acceptPeer, closeRtc, loadRtc, type AcceptedPeer, type RtcName } from '@shoal/transport/node';
import { describeTransport, openChannels, type TransportPair, until } from './transport-suite.ts';

describeTransport('memory', async () => {
  const { a, b, wire } = memoryLinkPair();
  return { a, b, aChannel: wire.a, dispose: () => a.close() };
});

describeTransport('memory with 5 ms, jitter and reordering', async () => {
  const faults = { delayMs: 5, jitterMs: 2, reordering: 0.1 };
  const { a, b, wire } = memoryLinkPair({ aToB: faults, bToA: faults });
  return { a, b, aChannel: wire.a, dispose: () => a.close() };
});

describeTransport('memory without the low-water event', async () => {
  const { a, b, wire } = memoryLinkPair({ hasLowEvent: false });
  return { a, b, aChannel: wire.a, dispose: () => a.close() };
});

describeTransport('memory with four channels, jitter and reordering', async () => {
  const faults = { delayMs: 5, jitterMs: 2, reordering: 0.1 };
  const { a, b, wire } = memoryLinkPair({ aToB: faults, bToA: faults, channels: 4 });
  return { a, b, aChannel: wire.a, dispose: () => a.close() };
});

describe.each<RtcName>(['node-datachannel', 'wrtc'])('over WebRTC', (name) => {
  describeTransport(`simple-peer on ${name}`, () => rtcPair(name));
  describeTransport(`simple-peer on ${name}, four connections`, () => rtcPair(name, 4));
  afterAll(closeRtc);
});

/**
 * Both ends in this process, over loopback. Signals arrive in a later turn, as from a network: handed over within the call that
 * makes them, they meet libdatachannel in the middle of its own work (3 of 150 connections failed so on a busy machine, else 0).
 */
async function rtcPair(name: RtcName, lapConnections = 1): Promise<TransportPair> {
  const rtc = await loadRtc([name]);
  const b: AcceptedPeer = acceptPeer({
    rtc,
    iceServers: [],
    lapConnections,
    onSignal: (signal) => setImmediate(() => a.signal(signal)),
  });
  const a: AcceptedPeer = acceptPeer({
    rtc,
    iceServers: [],
    lapConnections,
    initiator: true,
    onSignal: (signal) => setImmediate(() => b.signal(signal)),
  });
  const [aLink, bLink] = (await Promise.all([a.link, b.link])) as [FramedChannel, FramedChannel];
  await until(() => [aLink, bLink].every((link) => openChannels(link) === lapConnections));
  const dispose = async () => {
    a.close();
    b.close();
  };
  return { a: aLink, b: bLink, aChannel: aLink.channel, dispose };
}
