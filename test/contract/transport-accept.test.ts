import { afterAll, describe, expect, it, vi } from 'vitest';
import type { ControlMessage, Signal } from '@shoal/protocol';
import { acceptPeer, closeRtc, loadRtc, type AcceptedPeer, type RtcImplementation } from '@shoal/transport/node';
import { closeReason, collect, connected, openChannels, patterned, sameBytes, until } from './transport-suite.ts';
import type { FramedChannel } from '@shoal/transport';
import { withControlChannels } from '../tabs/control-channels.ts';

afterAll(closeRtc);

/** Signals arrive in a later turn, as in transport.test.ts, where it says why. */
async function pairOf(
  loaded?: RtcImplementation,
  onControl: (message: ControlMessage) => void = () => {},
): Promise<[AcceptedPeer, AcceptedPeer]> {
  const rtc = loaded ?? (await loadRtc());
  return connected(() => connectedPair(rtc, onControl));
}

async function connectedPair(
  rtc: RtcImplementation,
  onControl: (message: ControlMessage) => void,
): Promise<[AcceptedPeer, AcceptedPeer]> {
  const later = (hand: (signal: Signal) => void) => (signal: Signal) => void setImmediate(hand, signal);
  const b: AcceptedPeer = acceptPeer({ rtc, iceServers: [], onSignal: later((signal) => a.signal(signal)), onControl });
  const a: AcceptedPeer = acceptPeer({
    rtc,
    iceServers: [],
    initiator: true,
    onSignal: later((signal) => b.signal(signal)),
  });
  await Promise.all([a.link, b.link]);
  return [a, b];
}

/** The control channel opens independently. */
async function sayControl(peer: AcceptedPeer, message: ControlMessage): Promise<void> {
  await expect.poll(() => peer.sendControl(message), { timeout: 30_000 }).toBe(true);
}

/** Sends keep-alives until the link is closed, or until there were too many of them. */
async function floodControl(send: (text: string) => unknown, link: FramedChannel): Promise<void> {
  for (let i = 0; i < 5_000 && link.state === 'open'; i++) {
    send('{"control":"keep-alive"}');
    if (i % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

describe('acceptPeer', () => {
  it('rejects the link when nobody answers in time', async () => {
    const rtc = await loadRtc();
    const peer = acceptPeer({ rtc, iceServers: [], onSignal: () => {}, connectTimeoutMs: 50 });
    await expect(peer.link).rejects.toMatchObject({
      name: 'TransportError',
      reason: 'timeout',
      message: expect.stringContaining(
        'there is no way by UDP to an address of this machine, which has none (it named 0',
      ),
    });
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
    const heard: ControlMessage[] = [];
    const [a, b] = await pairOf(undefined, (message) => heard.push(message));
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

  it('closes with protocol on a flood of keep-alives, after few of them', async () => {
    const heard: ControlMessage[] = [];
    const [a, b] = await pairOf(undefined, (message) => heard.push(message));
    const link = (await b.link) as FramedChannel;
    const reason = closeReason(link);
    await floodControl((text) => a.sendControl(JSON.parse(text) as ControlMessage), link);
    expect(await reason).toBe('protocol');
    expect(heard.length).toBeLessThan(50);
    a.close();
  });

  it('has all connections of all peers at one UDP port and the announced address, if told to', async () => {
    const [rtc, muxed] = [
      await loadRtc(['wrtc']),
      await loadRtc(undefined, { udpPorts: { first: 21_000, last: 28_000 } }),
    ];
    const told: string[] = [];
    const pairs = await Promise.all(
      Array.from({ length: 3 }, async () => {
        const lapConnections = 2;
        const b: AcceptedPeer = acceptPeer({
          rtc: muxed,
          iceServers: [],
          lapConnections,
          announce: ['127.0.0.1'],
          onSignal: (signal) => {
            const text = signal.type === 'candidate' ? signal.candidate.candidate : signal.sdp;
            told.push(...(text.match(/candidate:.*/g) ?? []));
            setImmediate(() => a.signal(signal));
          },
        });
        const onSignal = (signal: Signal) => void setImmediate(() => b.signal(signal));
        const a: AcceptedPeer = acceptPeer({ rtc, iceServers: [], initiator: true, lapConnections, onSignal });
        const links = (await Promise.all([a.link, b.link])) as FramedChannel[];
        await expect.poll(() => links[1]!.channels.length, { timeout: 30_000 }).toBe(2);
        return [a, b];
      }),
    );
    expect(new Set(told.map((candidate) => candidate.split(' ').slice(4, 6).join(' ')))).toEqual(
      new Set([`127.0.0.1 ${muxed.udpPort}`]),
    );
    const again = loadRtc(undefined, { udpPorts: { first: muxed.udpPort!, last: muxed.udpPort! } });
    await expect(again).rejects.toThrow(`UDP port ${muxed.udpPort} can't be used (EADDRINUSE)`);
    for (const peer of pairs.flat()) peer.close();
    muxed.close();
    rtc.close();
  });

  it('tells what to do where no WebRTC loads', async () => {
    await expect(loadRtc([])).rejects.toMatchObject({
      reason: 'unavailable',
      message: expect.stringContaining('npm install --include=optional'),
    });
  });
});

describe('further connections', () => {
  /** A coordinator's end and one like a browser's. Signals reach the other side as `pass` has them. */
  async function linked(lapConnections: number, pass: (signal: Signal) => Signal | undefined = (signal) => signal) {
    const [rtc, wrtc] = [await loadRtc(), await loadRtc(['wrtc'])];
    const controls: RTCDataChannel[] = [];
    const tabRtc = { ...wrtc, classes: withControlChannels(wrtc.classes, (channel) => controls.push(channel)) };
    const lost = vi.fn();
    const b: AcceptedPeer = acceptPeer({
      rtc,
      iceServers: [],
      lapConnections,
      connectTimeoutMs: 3_000,
      onFurtherLost: lost,
      onSignal: (signal) => hand(pass(signal), () => a),
    });
    const a: AcceptedPeer = acceptPeer({
      rtc: tabRtc,
      iceServers: [],
      lapConnections,
      initiator: true,
      onSignal: (signal) => hand(pass(signal), () => b),
    });
    const [from, to] = (await Promise.all([a.link, b.link])) as [FramedChannel, FramedChannel];
    const close = (): void => {
      a.close();
      b.close();
    };
    return { a, b, from, to, lost, controls, close };
  }

  const hand = (signal: Signal | undefined, to: () => AcceptedPeer): void => {
    if (signal) setImmediate(() => to().signal(signal));
  };

  const carries = async (from: FramedChannel, to: FramedChannel): Promise<boolean> => {
    const frame = patterned(100_000, 1);
    const received = collect(to, 1);
    await from.send(frame);
    return sameBytes((await received)[0]!, frame);
  };

  it('are open soon after the first, and used', async () => {
    const { from, to, lost, close } = await linked(4);
    await until(() => openChannels(from) === 4 && openChannels(to) === 4);
    expect(await carries(from, to)).toBe(true);
    expect(lost).not.toHaveBeenCalled();
    close();
    await until(() => openChannels(from) + openChannels(to) === 0);
  });

  it.each<[string, (signal: Signal) => Signal | undefined]>([
    ['whose offer is no SDP', (signal) => (signal.type === 'offer' ? { ...signal, sdp: 'nonsense' } : signal)],
    ['whose candidates never come', (signal) => (signal.type === 'candidate' ? undefined : withoutCandidates(signal))],
  ])('%s are done without, and told once each', async (_, spoil) => {
    const { from, to, lost, close } = await linked(3, (signal) => (signal.connection ? spoil(signal) : signal));
    expect(await carries(from, to)).toBe(true);
    await until(() => lost.mock.calls.length === 2);
    expect(lost.mock.calls.map(([number]) => number as number).sort()).toEqual([1, 2]);
    expect(await carries(from, to)).toBe(true);
    expect(openChannels(to)).toBe(1);
    close();
  });

  it('end the link by a flood of keep-alives on any of them', async () => {
    const { to, controls, close } = await linked(2);
    await until(() => openChannels(to) === 2 && controls[1]?.readyState === 'open');
    const reason = closeReason(to);
    await floodControl((text) => controls[1]!.readyState === 'open' && controls[1]!.send(text), to);
    expect(await reason).toBe('protocol');
    close();
  });

  it('are no more than were granted, and none twice, whatever is asked', async () => {
    const { b, from, to, lost, close } = await linked(2);
    await until(() => openChannels(to) === 2);
    for (const connection of [1, 2, 3]) b.signal({ type: 'offer', sdp: 'nonsense', connection });
    await until(() => lost.mock.calls.length === 1);
    b.signal({ type: 'offer', sdp: 'nonsense', connection: 1 });
    // Both have noticed: frames sent on a lost channel are lost.
    await until(() => to.channels.length === 1 && from.channels.length === 1);
    expect(lost).toHaveBeenCalledTimes(1);
    expect(await carries(from, to)).toBe(true);
    close();
  });
});

function withoutCandidates(signal: Exclude<Signal, { type: 'candidate' }>): Signal {
  return { ...signal, sdp: signal.sdp.replaceAll(/a=candidate.*\r\n/g, '') };
}

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
