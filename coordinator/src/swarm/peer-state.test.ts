import type { PeerState } from '@shoal/protocol';
import { describe, expect, it } from 'vitest';
import { PeerSession } from './peer-session.ts';
import { type PeerEvent, PEER_TRANSITIONS } from './peer-state.ts';
import { helloOf, SHARD_BYTES } from './testing/fake-tab.ts';

/** Every allowed transition, written out independently of PEER_TRANSITIONS. */
const ALLOWED = `
  connecting --connect--> loading
  connecting --pause--> paused
  connecting --drain--> draining
  connecting --leave--> gone
  loading --test--> testing
  loading --spare--> waiting
  loading --pause--> paused
  loading --drain--> draining
  loading --leave--> gone
  testing --pass--> waiting
  testing --supersede--> loading
  testing --lose-device--> loading
  testing --pause--> paused
  testing --drain--> draining
  testing --leave--> gone
  waiting --assign--> loading
  waiting --busy--> working
  waiting --lose-device--> loading
  waiting --pause--> paused
  waiting --drain--> draining
  waiting --leave--> gone
  working --idle--> waiting
  working --lose-device--> loading
  working --pause--> paused
  working --drain--> draining
  working --leave--> gone
  connecting --rest--> resting
  loading --rest--> resting
  testing --rest--> resting
  waiting --rest--> resting
  working --rest--> resting
  paused --resume-serving--> waiting
  paused --resume-empty--> loading
  paused --resume-unconnected--> connecting
  resting --resume-serving--> waiting
  resting --resume-empty--> loading
  resting --resume-unconnected--> connecting
  resting --pause--> paused
  resting --drain--> draining
  resting --leave--> gone
  paused --drain--> draining
  paused --leave--> gone
  draining --leave--> gone`
  .trim()
  .split('\n')
  .map((line) => /^(\S+) --(\S+)--> (\S+)$/.exec(line.trim())!.slice(1) as [PeerState, PeerEvent, PeerState]);

/** The events that lead from `connecting` to each state. */
const PATHS: Record<PeerState, PeerEvent[]> = {
  connecting: [],
  loading: ['connect'],
  testing: ['connect', 'test'],
  waiting: ['connect', 'test', 'pass'],
  working: ['connect', 'test', 'pass', 'busy'],
  paused: ['pause'],
  resting: ['rest'],
  draining: ['drain'],
  gone: ['leave'],
};
const STATES = Object.keys(PATHS) as PeerState[];
const EVENTS = [...new Set(ALLOWED.map(([, event]) => event))];

function peerIn(state: PeerState): PeerSession {
  const peer = new PeerSession({
    peerId: 'tab-1',
    donorId: 'donor',
    donor: { held: new Map() },
    hello: helloOf('donor', 1),
    address: '',
    control: { assign: () => {}, standing: () => {}, dismiss: () => {} },
    shardBytes: SHARD_BYTES,
    expertsPerLayer: 4,
    layerIndex: new Map(),
  });
  for (const event of PATHS[state]) expect(peer.apply(event), `${state} is reached by ${event}`).toBe(true);
  expect(peer.state).toBe(state);
  return peer;
}

describe('PeerSession.apply', () => {
  it.each(ALLOWED)('moves a %s peer on %s to %s', (from, event, to) => {
    const peer = peerIn(from);
    expect(peer.apply(event)).toBe(true);
    expect(peer.state).toBe(to);
  });

  const refused = STATES.flatMap((from) =>
    EVENTS.filter((event) => !ALLOWED.some(([state, allowed]) => state === from && allowed === event)).map(
      (event) => [from, event] as const,
    ),
  );

  it.each(refused)('refuses a %s peer the event %s and leaves it as it is', (from, event) => {
    const peer = peerIn(from);
    expect(peer.apply(event)).toBe(false);
    expect(peer.state).toBe(from);
  });

  it('knows no transition beside these', () => {
    const known = Object.entries(PEER_TRANSITIONS).flatMap(([from, row]) =>
      Object.entries(row).map(([event, to]) => `${from} ${event} ${to}`),
    );
    expect(known.sort()).toEqual(ALLOWED.map((transition) => transition.join(' ')).sort());
    expect(ALLOWED.length + refused.length).toBe(STATES.length * EVENTS.length);
  });
});
