import { createRng } from '@shoal/model';
import type { Assign } from '@shoal/protocol';
import { memoryLinkPair } from '@shoal/transport';
import { beforeEach, describe, expect, it } from 'vitest';
import { LapClient } from '../laps/lap-client.ts';
import { EventLog } from '../base/event-log.ts';
import { PeerSession } from './peer-session.ts';
import { Rollout } from './rollout.ts';
import { HIDDEN, helloOf, SHARD_BYTES } from './testing/fake-tab.ts';

const LAYERS = [3, 5];
const EXPERTS = 4;
const FIRST = [0, 1, 2, 3];
const SECOND = [4, 5, 6, 7];

let peers: PeerSession[];
let rollout: Rollout;
let assigned: Map<string, Assign[]>;

/** [experts] recent rows. */
let loads: number[];

beforeEach(() => begin(1));

function begin(replicas: number): void {
  peers = [];
  loads = [...FIRST, ...SECOND].map(() => 1);
  assigned = new Map();
  rollout = new Rollout({
    model: { layers: LAYERS, expertsPerLayer: EXPERTS, groupsPerLayer: 1, shardBytes: SHARD_BYTES },
    shardHash: (layer, expert) => `${layer}${expert}`.padEnd(64, '0'),
    replicas,
    load: () => loads,
    events: new EventLog(),
    peers: () => peers,
    heldBefore: () => [],
    onAssigned: () => {},
  });
}

function join(peerId: string, experts: number): PeerSession {
  assigned.set(peerId, []);
  const peer = new PeerSession({
    peerId,
    donorId: `donor of ${peerId}`,
    donor: { held: new Map() },
    hello: helloOf(peerId, experts),
    address: '',
    control: { assign: (message) => void assigned.get(peerId)!.push(message), standing: () => {}, dismiss: () => {} },
    shardBytes: SHARD_BYTES,
    expertsPerLayer: EXPERTS,
    layerIndex: new Map(LAYERS.map((layer, index) => [layer, index])),
  });
  const { a } = memoryLinkPair();
  peer.attach(a, new LapClient({ link: a, hiddenSize: HIDDEN, epoch: () => peer.epoch, onHostile: () => {} }));
  peer.apply('connect');
  peers.push(peer);
  return peer;
}

/** Events after `ready` and a passed test. */
function serve(peer: PeerSession): void {
  for (const expert of peer.assigned) peer.live.add(expert);
  peer.apply('test');
  peer.apply('pass');
  rollout.advance();
}

const sorted = (experts: ReadonlySet<number>): number[] => [...experts].sort((a, b) => a - b);
/** [experts] Number of peers that serve each. */
const copies = (): number[] =>
  [...FIRST, ...SECOND].map((expert) => peers.filter((peer) => peer.serving && peer.live.has(expert)).length);

describe('Rollout', () => {
  it('assigns experts in order, under the model’s layer and expert numbers, each time with a higher epoch', () => {
    join('a', 8);
    rollout.replan();
    const [first] = assigned.get('a')!;
    expect(first!.shards.map(({ layer, expert }) => [layer, expert])).toEqual(
      LAYERS.flatMap((layer) => [0, 1, 2, 3].map((expert) => [layer, expert])),
    );
    join('b', 8);
    rollout.replan();
    const epochs = [...assigned.values()].flat().map(({ epoch }) => epoch);
    expect(new Set(epochs).size).toBe(epochs.length);
  });

  it('lets a peer keep an expert until its heir serves it', () => {
    const a = join('a', 8);
    rollout.replan();
    serve(a);
    const b = join('b', 8);
    rollout.replan();
    expect([a.target.size, b.target.size]).toEqual([4, 4]);
    // Nothing is taken from the first before the second serves.
    expect(sorted(a.assigned)).toEqual([...FIRST, ...SECOND]);
    expect(copies()).toEqual([1, 1, 1, 1, 1, 1, 1, 1]);
    serve(b);
    expect(sorted(a.assigned)).toEqual(sorted(a.target));
    expect(sorted(a.live)).toEqual(sorted(a.target));
    expect(copies()).toEqual([1, 1, 1, 1, 1, 1, 1, 1]);
    expect(a.settled && b.settled).toBe(true);
  });

  it('removes experts from a peer’s tests as well as from the peer', () => {
    const a = join('a', 8);
    rollout.replan();
    serve(a);
    const test = new Set(a.assigned);
    a.tests.add(test);
    const b = join('b', 8);
    rollout.replan();
    serve(b);
    expect(sorted(test)).toEqual(sorted(a.target));
  });

  it('sends nothing to peers whose assignment does not change, or that are paused or draining', () => {
    const a = join('a', 8);
    const b = join('b', 8);
    b.apply('pause');
    rollout.replan();
    serve(a);
    rollout.replan();
    expect([assigned.get('a')!.length, assigned.get('b')!.length]).toEqual([1, 0]);
    b.apply('drain');
    rollout.replan();
    expect(assigned.get('b')).toEqual([]);
  });

  it('lets a spare tab wait until it is needed', () => {
    const [a, b, c] = [join('a', 4), join('b', 4), join('c', 4)];
    rollout.replan();
    const spare = peers.find((peer) => peer.target.size === 0)!;
    expect([spare.state, spare.settled, assigned.get(spare.peerId)!.length]).toEqual(['waiting', true, 0]);
    peers = peers.filter((peer) => peer !== [a, b, c].find((other) => other !== spare));
    rollout.replan();
    expect([spare.state, spare.target.size]).toEqual(['loading', 4]);
  });

  it('has replaced a draining peer when all of its heirs serve', () => {
    const a = join('a', 8);
    rollout.replan();
    serve(a);
    const heirs = [join('b', 4), join('c', 4)];
    a.apply('drain');
    rollout.replan();
    expect(rollout.replaceable(a)).toBe(false);
    serve(heirs[0]!);
    expect(rollout.replaceable(a)).toBe(false);
    serve(heirs[1]!);
    expect(rollout.replaceable(a)).toBe(true);
  });
});

describe('Rollout with tight memory, while tabs come and go', () => {
  it('keeps experts served unless the tab that held them leaves, and settles', () => {
    let [moved, tight] = [0, 0];
    for (let seed = 1; seed <= 40; seed++) {
      const rng = createRng(seed);
      const pick = <T>(from: readonly T[]): T | undefined => from[Math.floor(rng() * from.length)];
      begin(1 + (seed % 2));
      let [name, lost] = [0, new Set<number>()];
      const covered = (): Set<number> => new Set(peers.flatMap((peer) => (peer.serving ? [...peer.live] : [])));
      const loading = (): PeerSession[] => peers.filter((peer) => peer.live.size < peer.assigned.size);
      const step = (act: () => void): void => {
        const before = covered();
        act();
        const now = covered();
        for (const expert of before) {
          // If memory is too small, the plan leaves out idle experts.
          const planned = [...rollout.plan.held.values()].some((held) => held.includes(expert));
          if (!now.has(expert) && !lost.has(expert) && planned) throw new Error(`seed ${seed} lost ${expert}`);
        }
        if (peers.some((peer) => peer.assigned.size > peer.target.size)) moved++;
        if (peers.some((peer) => [...peer.target].some((expert) => !peer.assigned.has(expert)))) tight++;
      };
      for (let round = 0; round < 60; round++) {
        const dice = rng();
        if (dice < 0.2 && peers.length < 7)
          step(() => (join(`${name++}`, 2 + Math.floor(rng() * 4)), rollout.replan()));
        else if (dice < 0.28 && peers.length > 2) {
          const gone = pick(peers)!;
          lost = gone.live;
          peers = peers.filter((peer) => peer !== gone);
          step(() => rollout.replan());
          lost = new Set();
        } else if (dice < 0.35) {
          loads = loads.map(() => Math.floor(rng() * 100));
          step(() => rollout.replan());
        } else {
          const ready = pick(loading());
          if (ready) step(() => serve(ready));
        }
      }
      for (let ready = pick(loading()); ready; ready = pick(loading())) step(() => serve(ready!));
      expect(peers.filter((peer) => !peer.settled).map((peer) => peer.state)).toEqual([]);
      expect(rollout.uncoveredByMoves).toBe(0);
    }
    expect(moved).toBeGreaterThan(20);
    expect(tight).toBeGreaterThan(20);
  });
});
