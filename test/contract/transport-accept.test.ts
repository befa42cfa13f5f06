import { afterAll, describe, expect, it } from 'vitest';
import type { ControlMessage, Signal } from '@shoal/protocol';
import { acceptPeer, closeRtc, loadRtc, type AcceptedPeer, type RtcImplementation } from '@shoal/transport/node';
import { closeReason } from './transport-suite.ts';
import type { FramedChannel } from '@shoal/transport';

afterAll(closeRtc);

/** Signals arrive in a later turn, as in transport.test.ts, where it says why. */
async function pairOf(loaded?: RtcImplementation): Promise<[AcceptedPeer, AcceptedPeer]> {
  const rtc = loaded ?? (await loadRtc());
  const later = (hand: (signal: Signal) => void) => (signal: Signal) => void setImmediate(hand, signal);
  const b: AcceptedPeer = acceptPeer({ rtc, iceServers: [], onSignal: later((signal) => a.signal(signal)) });
  const a: AcceptedPeer = acceptPeer({
    rtc,
    iceServers: [],
    initiator: true,
    onSignal: later((signal) => b.signal(signal)),
  });
  await Promise.all([a.link, b.link]);
  return [a, b];
}

/** The control channel opens on its own time. */
async function sayControl(peer: AcceptedPeer, message: ControlMessage): Promise<void> {
  await expect.poll(() => peer.sendControl(message), { timeout: 30_000 }).toBe(true);
}

describe('acceptPeer', () => {
  it('rejects the link when nobody answers in time', async () => {
    const rtc = await loadRtc();
    const peer = acceptPeer({ rtc, iceServers: [], onSignal: () => {}, connectTimeoutMs: 50 });
    await expect(peer.link).rejects.toMatchObject({ name: 'TransportError', reason: 'timeout' });
  });

  it('rejects the link when it is closed before', async () => {
    const rtc = await loadRtc();
    const peer = acceptPeer({ rtc, iceServers: [], onSignal: () => {} });
    peer.close();
    await expect(peer.link).rejects.toMatchObject({ name: 'TransportError', reason: 'closed' });
  });

  it.each<[string, Signal]>([
    ['an offer that is no SDP', { type: 'offer', sdp: 'nonsense' }],
    ['an answer to no offer', { type: 'answer', sdp: 'v=0\r\n' }],
  ])('rejects the link on %s, throwing nothing', async (_, signal) => {
    const rtc = await loadRtc();
    const peer = acceptPeer({ rtc, iceServers: [], onSignal: () => {}, connectTimeoutMs: 2000 });
    expect(() => peer.signal(signal)).not.toThrow();
    await expect(peer.link).rejects.toMatchObject({ name: 'TransportError' });
  });

  it('is not ended by a candidate that is none', async () => {
    const [a, b] = await pairOf();
    const candidate = { candidate: 'candidate:nonsense', sdpMid: 'x'.repeat(9), sdpMLineIndex: 9 };
    expect(() => a.signal({ type: 'candidate', candidate })).not.toThrow();
    await sayControl(a, { control: 'keep-alive' });
    expect((await a.link).state).toBe('open');
    b.close();
    a.close();
  });

  it('hands on control messages, and takes a goodbye for one', async () => {
    const [a, b] = await pairOf();
    const heard: ControlMessage[] = [];
    b.onControl = (message) => heard.push(message);
    const reason = closeReason((await b.link) as FramedChannel);
    await sayControl(a, { control: 'keep-alive' });
    await sayControl(a, { control: 'goodbye' });
    expect(await reason).toBe('goodbye');
    expect(heard).toEqual([{ control: 'keep-alive' }, { control: 'goodbye' }]);
    a.close();
  });

  it('closes with protocol on what is no control message', async () => {
    const [a, b] = await pairOf();
    const reason = closeReason((await b.link) as FramedChannel);
    await sayControl(a, { control: 'format' } as unknown as ControlMessage);
    expect(await reason).toBe('protocol');
    a.close();
  });

  it('tells what to do where no WebRTC loads', async () => {
    await expect(loadRtc([])).rejects.toMatchObject({
      reason: 'unavailable',
      message: expect.stringContaining('npm install --include=optional'),
    });
  });
});

describe('loadRtc', () => {
  it('is in use until everyone who has loaded it has closed it', async () => {
    await closeRtc();
    const [first, second] = [await loadRtc(), await loadRtc()];
    const [a, b] = await pairOf(second);
    first.close();
    first.close();
    const [from, to] = [await a.link, await b.link];
    const arrived = new Promise<Uint8Array>((resolve) => (to.onFrame = (frame) => resolve(frame.slice())));
    await from.send(Uint8Array.of(1, 2, 3));
    expect([...(await arrived)]).toEqual([1, 2, 3]);
    a.close();
    b.close();
    second.close();
  });
});
