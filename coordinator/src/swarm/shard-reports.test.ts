import { expect, it } from 'vitest';
import { EventLog } from '../base/event-log.ts';
import type { PeerSession } from './peer-session.ts';
import { ShardReports } from './shard-reports.ts';

const peer = { peerId: 'p-1', address: '192.0.2.1', hello: { pledgeBytes: 1000 } } as PeerSession;
const none = { coordinator: 0, mirror: 0, tab: 0, given: 0, mirrorFaults: [] };

it('adds up what tabs say, but believes no tab more than it can hold', () => {
  let nowMs = 0;
  const reports = new ShardReports({ events: new EventLog(), mirrorNames: [], nowMs: () => nowMs });
  reports.take(peer, { ...none, mirror: 600, tab: 300 });
  expect(reports.bytes).toEqual({ coordinator: 0, mirror: 600, tab: 300, given: 0 });
  reports.take(peer, { ...none, given: 1e12 });
  expect(reports.bytes.given).toBe(1100);
  nowMs += 30_000;
  reports.take(peer, { ...none, coordinator: 1e12 });
  expect(reports.bytes.coordinator).toBe(1000);
});

it("tells the operator of a mirror's fault once in ten minutes", () => {
  let nowMs = 0;
  const events = new EventLog();
  const reports = new ShardReports({ events, mirrorNames: ['https://cdn.example'], nowMs: () => nowMs });
  const fault = { ...none, mirrorFaults: [{ mirror: 0, fault: 'wrong-bytes' as const }] };
  for (let i = 0; i < 5; i++) reports.take(peer, fault);
  reports.take(peer, { ...none, mirrorFaults: [{ mirror: 7, fault: 'network' }] });
  expect(events.all().map(({ text }) => text)).toEqual([expect.stringMatching(/cdn\.example sent a tab wrong bytes/)]);
  nowMs += 600_000;
  reports.take(peer, fault);
  expect(events.all()).toHaveLength(2);
});
