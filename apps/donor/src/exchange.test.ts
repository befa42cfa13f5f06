import type { connectDonor } from '@shoal/peer';
import type { Seek, Signal, TabSignal } from '@shoal/protocol';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FetchedReport } from './fetched-report.ts';
import { SeekCalls } from './seek-calls.ts';
import { TabLinks } from './tab-links.ts';

type ConnectOptions = Parameters<typeof connectDonor>[0];

describe('TabLinks', () => {
  let made: { options: ConnectOptions; signals: Signal[]; isClosed: boolean }[];
  let sent: TabSignal[];
  let channels: string[];
  let gone: string[];
  let links: TabLinks;
  beforeEach(() => {
    [made, sent, channels, gone] = [[], [], [], []];
    links = new TabLinks({
      send: (message) => sent.push(message),
      onChannel: (tab, channel) => channels.push(`${tab} ${String(channel)}`),
      onGone: (tab) => gone.push(tab),
      connect: (options) => {
        const connection = { options, signals: [] as Signal[], isClosed: false };
        made.push(connection);
        options.onLapChannel(`channel ${made.length}` as unknown as RTCDataChannel, false);
        return {
          signal: (signal) => void connection.signals.push(signal),
          sendControl: () => true,
          path: { isFound: false, addresses: [] } as never,
          close: () => {
            connection.isClosed = true;
            options.onEnd?.({ reason: 'closed' });
          },
        };
      },
    });
  });

  const open = (tab: string, initiate = true) =>
    links.take({ tab, open: true, initiate, iceServers: [{ urls: 'stun:x' }] });
  const offer: Signal = { type: 'offer', sdp: 'v=0' };

  it('connect to the tabs that the coordinator names, and to no others', () => {
    open('p1');
    open('p2', false);
    expect(made.map(({ options }) => [options.initiator, options.iceServers])).toEqual([
      [true, [{ urls: 'stun:x' }]],
      [false, [{ urls: 'stun:x' }]],
    ]);
    expect(channels).toEqual(['p1 channel 1', 'p2 channel 2']);
    made[0]!.options.onSignal(offer);
    links.signal({ tab: 'p1', signal: { ...offer, type: 'answer' } });
    links.signal({ tab: 'p3', signal: offer });
    expect(sent).toEqual([{ tab: 'p1', signal: offer }]);
    expect([made[0]!.signals, made[1]!.signals, made.length]).toEqual([[{ type: 'answer', sdp: 'v=0' }], [], 2]);
    links.take({ tab: 'p1', open: false });
    made[1]!.options.onEnd!({ reason: 'failed' });
    expect([gone, made[0]!.isClosed]).toEqual([['p1', 'p2'], true]);
  });

  it('are eight at most, and end together', () => {
    for (let i = 0; i < 12; i++) open(`p${i}`);
    expect(made).toHaveLength(8);
    // Again for the same tab: instead of the old one.
    open('p0');
    expect([made.length, made[0]!.isClosed]).toEqual([9, true]);
    links.endAll();
    expect(made.every(({ isClosed }) => isClosed)).toBe(true);
    expect(gone).toHaveLength(9);
  });
});

describe('SeekCalls', () => {
  afterEach(() => void vi.useRealTimers());
  const seek: Seek = { have: [], wanted: [], faults: [] };

  it('match replies to calls, and fail without one', async () => {
    vi.useFakeTimers();
    const ids: number[] = [];
    const calls = new SeekCalls(({ id }) => ids.push(id));
    const [first, second, third] = [calls.call(seek), calls.call(seek), calls.call(seek)];
    calls.settle(ids[1]!, { routes: [{ shard: '0'.repeat(16) }] });
    calls.settle(ids[0]!, undefined);
    calls.settle(99, undefined);
    expect(await second).toEqual({ routes: [{ shard: '0'.repeat(16) }] });
    await expect(first).rejects.toThrow(/did not answer/);
    const failed = expect(third).rejects.toThrow(/did not answer/);
    await vi.advanceTimersByTimeAsync(10_000);
    await failed;
  });
});

describe('FetchedReport', () => {
  const bytes = (coordinator: number, mirror = 0) => ({ coordinator, mirror, tab: 0, given: 0 });
  const fault = { mirror: 0, fault: 'http' as const };

  it('tells what has been added, every two seconds at most, and nothing twice', () => {
    const report = new FetchedReport();
    expect(report.next(bytes(0), [], 0)).toBeUndefined();
    expect(report.next(bytes(10), [], 1000)).toEqual({ ...bytes(10), mirrorFaults: [] });
    expect(report.next(bytes(15), [fault], 2000)).toBeUndefined();
    expect(report.next(bytes(20, 5), [], 3000)).toEqual({ ...bytes(10, 5), mirrorFaults: [fault] });
    expect(report.next(bytes(20, 5), [], 9000)).toBeUndefined();
    report.restart();
    expect(report.next(bytes(3), [], 12_000)).toEqual({ ...bytes(3), mirrorFaults: [] });
  });
});
