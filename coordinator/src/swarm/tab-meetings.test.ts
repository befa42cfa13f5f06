import type { Signal, TabLink, TabSignal } from '@shoal/protocol';
import { expect, it } from 'vitest';
import { EventLog } from '../base/event-log.ts';
import { reachableOf, TabMeetings } from './tab-meetings.ts';

const SHARD = 'a'.repeat(64);
const NAME = SHARD.slice(0, 16);
const iceServers = [{ urls: ['turn:relay.example:3478', 'stun:relay.example:3478'], username: 'u', credential: 'c' }];

function meet(...addresses: string[]) {
  const meetings = new TabMeetings({ shards: [SHARD], shardBytes: 1000, iceServers, events: new EventLog() });
  const heard = addresses.map((address, i) => {
    const links: TabLink[] = [];
    const signals: TabSignal[] = [];
    meetings.join(
      { peerId: `p${i}`, donorId: `d${i}`, address },
      { link: (message) => links.push(message), signal: (message) => signals.push(message) },
    );
    return { links, signals };
  });
  return { meetings, heard };
}

const candidate = (address: string): Signal => ({
  type: 'candidate',
  candidate: { candidate: `candidate:1 1 udp 2122260223 ${address} 50000 typ host`, sdpMid: '0', sdpMLineIndex: 0 },
});

it('introduces two tabs, of which one initiates, without the operator’s relay', () => {
  const { meetings, heard } = meet('203.1.1.1', '203.1.1.2');
  meetings.seek('p0', { have: [NAME], wanted: [], faults: [] });
  meetings.seek('p1', { have: [], wanted: [NAME], faults: [] });
  const open = { open: true, iceServers: [{ urls: ['stun:relay.example:3478'] }] };
  expect(heard[1]!.links).toEqual([{ ...open, tab: 'p0', initiate: true }]);
  expect(heard[0]!.links).toEqual([{ ...open, tab: 'p1', initiate: false }]);
  meetings.leave('p0');
  expect(heard[1]!.links.at(-1)).toEqual({ tab: 'p0', open: false });
});

it('passes signals on between these two alone, and of their addresses only their own', () => {
  const { meetings, heard } = meet('203.1.1.1', '203.1.1.2', '203.1.1.3');
  const say = (from: string, tab: string, signal: Signal) => meetings.signal(from, { tab, signal });
  say('p1', 'p0', candidate('203.1.1.2'));
  meetings.seek('p0', { have: [NAME], wanted: [], faults: [] });
  meetings.seek('p1', { have: [], wanted: [NAME], faults: [] });
  say('p2', 'p0', candidate('203.1.1.3'));
  expect(heard[0]!.signals).toEqual([]);
  const victims = ['198.51.100.7', '8.8.8.8', '192.168.0.1', '127.0.0.1', '169.254.169.254', 'victim.example', '::1'];
  for (const address of [...victims, '203.1.1.2']) say('p1', 'p0', candidate(address));
  expect(heard[0]!.signals).toMatchObject([
    { tab: 'p1', signal: { candidate: { candidate: expect.stringContaining('203.1.1.2') as string } } },
  ]);
  say('p1', 'p0', { type: 'offer', sdp: `v=0\r\na=ice-ufrag:x\r\na=candidate:1 1 udp 1 8.8.8.8 50000 typ host\r\n` });
  expect(heard[0]!.signals[1]!.signal).toEqual({ type: 'offer', sdp: 'v=0\r\na=ice-ufrag:x\r\n' });
  for (let i = 0; i < 100; i++) say('p1', 'p0', { type: 'offer', sdp: 'v=0' });
  expect(heard[0]!.signals.length).toBeLessThanOrEqual(33);
  meetings.seek('p1', { have: [], wanted: [], faults: [{ tab: 'p0', shard: NAME, fault: 'stalled' }] });
  const before = heard[0]!.signals.length;
  say('p0', 'p1', candidate('203.1.1.1'));
  expect([heard[0]!.signals.length, heard[1]!.signals]).toEqual([before, []]);
  expect(meetings.faults).toMatchObject({ stalled: 1 });
});

const LOCAL = '1b4e28ba-2fa1-11d2-883f-0016d3cca427.local';
it.each([
  // Behind one router.
  ['203.1.1.1', '203.1.1.1', ['192.168.0.7', LOCAL, '203.1.1.1'], ['203.1.1.9', '127.0.0.1', '169.254.0.1']],
  // With IPv6, where each tab has an address of its own.
  ['2001:470:1:2::5', '2001:470:1:2::6', ['2001:470:1:2::99', 'fd00::1', LOCAL], ['2001:470:1:3::1', '203.1.1.1']],
  ['2001:470:1:2::5', '203.1.1.1', ['2001:470:1:2::99'], ['192.168.0.7', LOCAL]],
  // In the coordinator's own network, and on its machine.
  ['192.168.0.7', '192.168.0.8', ['192.168.0.7', '10.0.0.1', LOCAL], ['127.0.0.1', '203.1.1.1']],
  ['127.0.0.1', '127.0.0.1', ['127.0.0.1', '10.0.0.1', LOCAL], ['203.1.1.1', '169.254.0.1']],
])('of a tab at %s, one at %s may be told the addresses %j and not %j', (from, to, good, bad) => {
  const { allows, allowsNames } = reachableOf(from, to);
  const isAllowed = (address: string): boolean => (address === LOCAL ? allowsNames : allows(address));
  expect([good.filter((address) => !isAllowed(address)), bad.filter(isAllowed)]).toEqual([[], []]);
});
