import type { ExpertAdapter, HeldAdapter } from '@shoal/model';
import { type Adapted, LOW_RANK_KIND } from '@shoal/protocol';
import type { AdapterShard, AdapterShards } from '../adapters/adapter-shards.ts';
import type { Clock } from '../base/clock.ts';
import type { Judge } from '../trust/judge.ts';
import { knownAnswerTest } from './known-answer-test.ts';
import { mebibytes } from './messages.ts';
import { PeerAdapters } from './peer-adapters.ts';
import type { PeerSession } from './peer-session.ts';
import type { SwarmOptions } from './swarm-options.ts';
import type { Vetting } from './vetting.ts';

export interface TabAdaptersOptions extends Pick<SwarmOptions, 'events' | 'model'> {
  shards: AdapterShards;
  clock: Clock;
  peers: () => readonly PeerSession[];
  judge: Judge;
  vetting: Pick<Vetting, 'dismissWrong'>;
}

/** The low-rank shards of all tabs. */
export class TabAdapters {
  /** Given up to make room, since startup. */
  evicted = 0;
  readonly #options: TabAdaptersOptions;
  /** Names of adapters of which it was told that there is no room. */
  readonly #told = new Set<string>();

  constructor(options: TabAdaptersOptions) {
    this.#options = options;
    options.shards.events.on('gone', (adapters) => {
      for (const { adapters: held } of options.peers()) held?.drop(adapters);
    });
  }

  /** Undefined in a swarm without adapters. */
  static of(
    options: SwarmOptions,
    clock: Clock,
    judge: Judge,
    vetting: TabAdaptersOptions['vetting'],
    peers: TabAdaptersOptions['peers'],
  ): TabAdapters | undefined {
    const { adapterShards: shards } = options;
    return shards && new TabAdapters({ ...options, shards, clock, judge, vetting, peers });
  }

  /** The number of an adapter in frames; undefined if it is gone. */
  readonly numberOf = (adapter: ExpertAdapter | HeldAdapter): number | undefined =>
    this.#options.shards.of(adapter as ExpertAdapter)?.number;

  /** Of all tabs. */
  get bytes(): number {
    return this.#options.peers().reduce((sum, { adapters }) => sum + (adapters?.bytes ?? 0), 0);
  }

  /** What a tab may hold; undefined if it is one that does not know adapters. */
  open(peer: PeerSession): PeerAdapters | undefined {
    if (!peer.hello.expertKinds?.includes(LOW_RANK_KIND)) return undefined;
    const { shards, clock, model } = this.#options;
    return new PeerAdapters({
      shards,
      clock,
      send: (message) => peer.control.adapters?.(message),
      roomBytes: () => peer.hello.pledgeBytes - Math.max(peer.assigned.size, peer.target.size) * model.shardBytes,
      hasExpert: (layer, expert) => peer.serves(layer, expert),
      test: (adapters) => this.#test(peer, adapters),
      onNoRoom: (shard) => this.#noRoom(peer, shard),
      onEvicted: (count) => (this.evicted += count),
    });
  }

  adapted(peer: PeerSession, message: Adapted): void {
    void peer.adapters?.adapted(message);
  }

  /** A tab that is wrong about one is dismissed, as it is about an expert. */
  async #test(peer: PeerSession, adapters: readonly (AdapterShard & { adapter: ExpertAdapter })[]): Promise<boolean> {
    const { judge, model, vetting } = this.#options;
    const { tested, matched } = await knownAnswerTest(peer.laps, judge, adapters, model.hiddenSize, peer.trust.bounds);
    if (matched < tested && peer.state !== 'gone')
      vetting.dismissWrong(peer, `The tab computed ${tested - matched} of ${tested} adapted experts wrongly.`);
    return matched === tested;
  }

  #noRoom(peer: PeerSession, { name, bytes }: AdapterShard): void {
    if (this.#told.has(name)) return;
    this.#told.add(name);
    const { events, model } = this.#options;
    const room = Math.max(0, peer.hello.pledgeBytes - peer.assigned.size * model.shardBytes);
    const held = `has ${mebibytes(room)} left beside its experts, and ${mebibytes(peer.adapters?.bytes ?? 0)} of adapters in use there`;
    const text =
      `The adapter ${name} does not fit into the memory of all tabs: it adds ${mebibytes(bytes)} to an expert, and ${peer.peerId} ${held}. ` +
      'The coordinator computes what tabs have no room for, which is slower; donors who lend more make room';
    events.add({ level: 'warning', kind: 'peer', text, peerId: peer.peerId });
  }
}
