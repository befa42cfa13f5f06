import { randomUUID } from 'node:crypto';
import { type Dismissed, type Hello, missingExpertKind } from '@shoal/protocol';
import { JoinRefused } from '../access/join-refused.ts';
import type { Clock } from '../base/clock.ts';
import { backendOf } from '../trust/bounds.ts';
import { donorIdOf } from './donor-id.ts';
import type { ClusterPlanning } from './cluster-planning.ts';
import type { DonorRecords } from './donor-records.ts';
import { tabToReplace } from './full-swarm.ts';
import { MADE_ROOM, mebibytes, quarantinedText, rejoinText } from './messages.ts';
import type { DonorControl } from './donor-control.ts';
import { PeerSession } from './peer-session.ts';
import { REPLACED } from './published-tabs.ts';
import type { RejoinDelays } from './rejoin-delays.ts';
import type { SwarmOptions } from './swarm-options.ts';

/** Well above the number of tabs that the coordinator's attention can keep busy. */
const DEFAULT_MAX_PEERS = 512;

/** Verified rows from which a donor has shown that it is not a name made up a minute ago. */
const PROVEN_ROWS = 1_000;

export interface EntranceOptions extends Pick<
  SwarmOptions,
  'model' | 'expertNeeds' | 'rowFormat' | 'trust' | 'cpuDonors' | 'maxPeers'
> {
  clock: Clock;
  donors: DonorRecords;
  rejoins: RejoinDelays;
  peers: () => readonly PeerSession[];
  cluster: () => ClusterPlanning | undefined;
  dismiss: (peer: PeerSession, message: Dismissed) => void;
}

/** Decides which tabs join the swarm. What it asks of them comes after the rules of access (`DonorDoor`). */
export class Entrance {
  readonly #options: EntranceOptions;
  readonly #layerIndex: ReadonlyMap<number, number>;
  #nextPeer = 1;

  constructor(options: EntranceOptions) {
    this.#options = options;
    this.#layerIndex = new Map(options.model.layers.map((layer, index) => [layer, index]));
  }

  /**
   * A session for a tab, for which an earlier one of the same tab or another tab may have been dismissed.
   * `keyId`: hash of the key that it has proven to have. Throws JoinRefused.
   */
  enter(hello: Hello, address: string, control: DonorControl, keyId?: string): PeerSession {
    const session = this.#session(hello, address, control, keyId);
    const { dismiss } = this.#options;
    const old = this.#own(session);
    const refusal = this.#refusal(session, old);
    if (refusal) throw refusal;
    if (old) dismiss(old, REPLACED);
    return session;
  }

  #refusal(session: PeerSession, old: PeerSession | undefined): JoinRefused | undefined {
    const { expertNeeds, cpuDonors, maxPeers = DEFAULT_MAX_PEERS, trust, rejoins, model, peers } = this.#options;
    if (cpuDonors === false && backendOf(session.hello.adapter) === 'wasm')
      return new JoinRefused('no-cpu', 'This coordinator accepts only tabs that compute with WebGPU.');
    const missing = expertNeeds && missingExpertKind(expertNeeds, session.hello.expertKinds);
    if (missing !== undefined)
      return new JoinRefused('kind', `This model’s experts need "${missing}", which this page does not compute.`);
    if (session.maxExperts < 1 || session.maxExpertsPerLayer < 1) {
      const message = `One expert of this model takes ${mebibytes(model.shardBytes)}. Lend more memory than that.`;
      return new JoinRefused('too-small', message);
    }
    const untilMs = trust?.quarantine.until(session);
    if (untilMs !== undefined) return new JoinRefused('banned', quarantinedText(untilMs));
    const waitMs = rejoins.waitMs(session, session.trust.record.verifiedRows >= PROVEN_ROWS);
    if (waitMs > 0) return new JoinRefused('wait', rejoinText(waitMs));
    const cluster = this.#options.cluster();
    const count = peers().length + (cluster?.numRemote ?? 0);
    // A tab that another coordinator has let in is counted already.
    const isCounted = old ?? cluster?.elsewhere(session.donorId, session.tab);
    const limit = maxPeers * (cluster?.numMembers ?? 1);
    if (isCounted || count < limit || this.#makeRoom(session)) return undefined;
    return new JoinRefused('full', `The swarm is full, with ${count} tabs. Try again later.`);
  }

  #own({ donorId, tab }: { donorId: string; tab: number }): PeerSession | undefined {
    return this.#options.peers().find((peer) => peer.donorId === donorId && peer.tab === tab);
  }

  #makeRoom({ address }: PeerSession): boolean {
    const replaced = tabToReplace(this.#options.peers(), address, this.#options.clock.now());
    if (replaced) this.#options.dismiss(replaced, { code: 'timeout', message: MADE_ROOM, retry: true });
    return replaced !== undefined;
  }

  #session(hello: Hello, address: string, control: DonorControl, keyId: string | undefined): PeerSession {
    const { model, rowFormat, trust, clock, donors } = this.#options;
    const tokenId = donorIdOf(hello.donorToken);
    const donorId = keyId ?? tokenId;
    const donor = donors.of(donorId);
    const { tab = 0 } = hello;
    const cluster = this.#options.cluster();
    const elsewhere = cluster?.elsewhere(donorId, tab);
    // Its browser still has what it held there.
    if (elsewhere) donors.remember({ ...elsewhere, donor });
    return new PeerSession({
      peerId: `tab-${this.#nextPeer++}-${randomUUID().slice(0, cluster ? 8 : 4)}`,
      donorId,
      tokenId,
      donor,
      visit: 1 + Math.max(elsewhere?.visit ?? 0, this.#own({ donorId, tab })?.visit ?? 0),
      hello,
      address,
      control,
      shardBytes: model.shardBytes,
      expertsPerLayer: model.expertsPerLayer,
      layerIndex: this.#layerIndex,
      rowFormat,
      trust,
      clock,
    });
  }
}
