import type { Dismissed, TabPromise } from '@shoal/protocol';
import type { DonorRecords } from './donor-records.ts';
import type { LoadDeadlines } from './load-deadlines.ts';
import { restText, TOO_MANY_PROMISES, TOO_MANY_TESTS } from './messages.ts';
import type { PeerSession } from './peer-session.ts';
import { isStopped } from './peer-state.ts';
import type { SwarmPlacement } from './swarm-placement.ts';
import type { SwarmTimings } from './swarm-options.ts';
import type { Vetting } from './vetting.ts';

export interface TabPausesOptions {
  donors: DonorRecords;
  loading: LoadDeadlines;
  placement: SwarmPlacement;
  timings: SwarmTimings;
  vetting: Vetting;
  /** It has experts to load: its deadlines begin. */
  expectLoading: (peer: PeerSession) => void;
  letGo: (peer: PeerSession, farewell: Dismissed) => void;
  onEvent: (level: 'info', text: string, peer: PeerSession) => void;
}

/**
 * What donors ask of their own tabs while they stay: to pause, and to keep their limits. A tab that rests by its limits gets no
 * laps and is expected to load nothing. Nobody blames it: it keeps its place, its trust and its audits, and its experts if it is
 * back soon.
 */
export class TabPauses {
  readonly #options: TabPausesOptions;

  constructor(options: TabPausesOptions) {
    this.#options = options;
  }

  /** Its lap channel is open. It may have promised to rest when it joined. */
  arrived(peer: PeerSession): void {
    if (peer.promised.rest) this.#rest(peer);
  }

  pause(peer: PeerSession): void {
    const { loading, placement, timings } = this.#options;
    if (!this.#stop(peer, 'pause')) return;
    if (peer.readyEpoch === peer.epoch) loading.stop(peer);
    this.#options.onEvent('info', `${peer.peerId} was paused by its donor`, peer);
    placement.planning.soon(timings.leaveDelayMs);
  }

  resume(peer: PeerSession): void {
    if (peer.state !== 'paused' || !this.#start(peer)) return;
    this.#options.onEvent('info', `${peer.peerId} was resumed by its donor`, peer);
    if (peer.promised.rest) return this.#rest(peer);
    void this.#options.vetting.testNew(peer);
    this.#options.placement.planning.soon(this.#options.timings.joinDelayMs);
  }

  /** Its limits allow something else now. */
  promise(peer: PeerSession, promise: TabPromise): void {
    const { share } = peer.promised;
    if (!peer.promised.take(promise)) return this.#options.letGo(peer, TOO_MANY_PROMISES);
    const isResting = peer.state === 'resting';
    if (promise.rest && !isResting) this.#rest(peer);
    else if (!promise.rest && isResting) this.#wake(peer);
    // Speeds have changed.
    else if (share !== promise.share) this.#options.placement.planning.soon(this.#options.timings.leaveDelayMs);
    peer.onChange();
  }

  /** Called once a second, of every tab. */
  tick(peer: PeerSession): void {
    const { donors, placement } = this.#options;
    if (peer.noteRetires()) placement.planning.soon(0);
    const { promised } = peer;
    if (peer.state !== 'resting' || !promised.isLong || peer.assigned.size === 0) return;
    // Its browser keeps the weights, and it gets the same experts again.
    donors.remember(peer);
    peer.target = new Set();
    placement.rollout.assign(peer, new Set());
  }

  #rest(peer: PeerSession): void {
    const { loading, placement, timings } = this.#options;
    if (!this.#stop(peer, 'rest')) return;
    loading.stop(peer);
    peer.noteResting();
    peer.control.standing(peer.standing());
    this.#options.onEvent('info', `${peer.peerId} rests${restText(peer.promised.view.rest!)}`, peer);
    placement.planning.soon(timings.leaveDelayMs + peer.promised.worthWaitingMs);
  }

  #wake(peer: PeerSession): void {
    const { vetting, placement, timings } = this.#options;
    if (!this.#start(peer)) return;
    this.#options.onEvent('info', `${peer.peerId} goes on after a rest`, peer);
    if (peer.connected && peer.readyEpoch !== peer.epoch && peer.assigned.size > 0) this.#options.expectLoading(peer);
    peer.control.standing(peer.standing());
    void vetting.testNew(peer);
    placement.planning.soon(timings.joinDelayMs);
  }

  /** False if nothing changes, or if it interrupts tests too often. */
  #stop(peer: PeerSession, event: 'pause' | 'rest'): boolean {
    const wasStopped = isStopped(peer.state);
    if (!peer.apply(event)) return false;
    if (!wasStopped && peer.tests.size > 0 && !peer.mayRepeatTest()) {
      this.#options.letGo(peer, TOO_MANY_TESTS);
      return false;
    }
    peer.tests.clear();
    return true;
  }

  #start(peer: PeerSession): boolean {
    const event = peer.live.size > 0 ? 'resume-serving' : 'resume-empty';
    return peer.apply(peer.connected ? event : 'resume-unconnected');
  }
}
