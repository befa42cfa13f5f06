import type { ExpertIndex } from '@shoal/placement';
import { ExpertRunner } from '@shoal/peer';
import { type Assign, type Dismissed, PROTOCOL_VERSION } from '@shoal/protocol';
import type { DonorControl } from '../../coordinator/src/swarm/donor-control.ts';
import type { PeerSession } from '../../coordinator/src/swarm/peer-session.ts';
import type { Timer } from '../../coordinator/src/base/clock.ts';
import type { SimDonor } from './donors.ts';
import { VirtualBackend } from './virtual-backend.ts';
import { type VirtualLink, virtualLinkPair } from './virtual-link.ts';
import type { World } from './world.ts';

/** Approximate round trips from hello to an open lap channel: signalling, ICE, DTLS and SCTP. */
const CONNECT_ROUND_TRIPS = 6;
/** Well below the coordinator's timeout for a loading tab. */
const PROGRESS_MS = 30_000;

interface Loading {
  epoch: number;
  /** In order of arrival. */
  experts: ExpertIndex[];
  startMs: number;
  endMs: number;
  timer: Timer;
}

/**
 * One visit of a donor: a virtual tab as the swarm sees it, from hello to goodbye. The runner of real tabs answers its
 * laps; loading takes as long as its downloads.
 */
export class VirtualTab implements DonorControl {
  readonly session: PeerSession;
  onDismissed: ((message: Dismissed) => void) | undefined;
  readonly #world: World;
  readonly #donor: SimDonor;
  /** The browser's cache, kept between visits. */
  readonly #cached: Set<ExpertIndex>;
  readonly #near: VirtualLink;
  readonly #far: VirtualLink;
  readonly #runner: ExpertRunner;
  #resident = new Set<ExpertIndex>();
  #loading: Loading | undefined;
  #gone = false;

  /** Throws JoinRefused. */
  constructor(world: World, donor: SimDonor, cached: Set<ExpertIndex>) {
    this.#world = world;
    this.#donor = donor;
    this.#cached = cached;
    const { clock, swarm, model } = world;
    const { hiddenSize, expertsPerLayer } = model;
    this.#runner = new ExpertRunner({
      holds: (layer, expert) => this.#resident.has(layer * expertsPerLayer + expert),
      onLinkClosed: () => {},
      now: () => clock.now(),
    });
    this.#runner.setBackend(new VirtualBackend(clock, donor, { hiddenSize }));
    const { near, far } = virtualLinkPair(clock, donor, world.rng);
    this.#near = near;
    this.#far = far;
    this.#runner.attach(far);
    this.session = swarm.join(helloOf(donor), donor.donorToken, this);
    this.#later(CONNECT_ROUND_TRIPS * donor.rttMs, () => swarm.attach(this.session, near));
  }

  assign({ epoch, shards }: Assign): void {
    const { expertsPerLayer } = this.#world.model;
    const experts = shards.map(({ layer, expert }) => layer * expertsPerLayer + expert);
    this.#later(this.#donor.rttMs / 2, () => this.#load(epoch, experts));
  }

  standing(): void {}

  dismiss(message: Dismissed): void {
    if (this.#gone) return;
    this.#end();
    this.onDismissed?.(message);
  }

  /** Says goodbye. */
  leave(): void {
    if (this.#gone) return;
    const { clock, swarm } = this.#world;
    this.#end();
    clock.setTimeout(() => swarm.intent(this.session, { intent: 'leave' }), this.#donor.rttMs / 2);
  }

  /** Leaves without a goodbye; returns what to call when the heartbeat fails. */
  vanish(): () => void {
    this.#end();
    this.#near.vanished = true;
    this.#far.vanished = true;
    return () => this.#near.end('heartbeat');
  }

  #end(): void {
    this.#keepLoaded();
    this.#gone = true;
  }

  #later(delayMs: number, run: () => void): Timer {
    return this.#world.clock.setTimeout(() => {
      if (!this.#gone) run();
    }, delayMs);
  }

  #load(epoch: number, experts: readonly ExpertIndex[]): void {
    const { clock, counted, shardBytes } = this.#world;
    this.#keepLoaded();
    this.#runner.epoch = epoch;
    const wanted = new Set(experts);
    for (const expert of this.#resident) if (!wanted.has(expert)) this.#resident.delete(expert);
    const fresh = experts.filter((expert) => !this.#resident.has(expert));
    const download = fresh.filter((expert) => !this.#cached.has(expert));
    counted.fetchedBytes += download.length * shardBytes;
    counted.fromCacheBytes += (fresh.length - download.length) * shardBytes;
    const startMs = clock.now();
    const endMs = startMs + this.#world.downloadMs(download.length * shardBytes, this.#donor.downloadBytesPerMs);
    const inOrder = [...fresh.filter((expert) => this.#cached.has(expert)), ...download];
    const timer = this.#later(endMs - startMs, () => this.#loaded(epoch));
    this.#loading = { epoch, experts: inOrder, startMs, endMs, timer };
    this.#reportProgress(this.#loading);
  }

  #reportProgress(loading: Loading): void {
    if (loading.endMs - this.#world.clock.now() < PROGRESS_MS) return;
    this.#later(PROGRESS_MS, () => {
      if (this.#loading !== loading) return;
      const totalBytes = loading.experts.length * this.#world.shardBytes;
      const doneBytes = totalBytes * this.#doneShare(loading);
      const progress = { phase: 'downloading', doneBytes, totalBytes, cachedBytes: 0 } as const;
      this.#world.swarm.progress(this.session, { epoch: loading.epoch, ...progress });
      this.#reportProgress(loading);
    });
  }

  #doneShare({ startMs, endMs }: Loading): number {
    return endMs === startMs ? 1 : Math.min(1, (this.#world.clock.now() - startMs) / (endMs - startMs));
  }

  #loaded(epoch: number): void {
    this.#keepLoaded();
    this.#later(this.#donor.rttMs / 2, () => {
      const allocatedBytes = this.#resident.size * this.#world.shardBytes;
      void this.#world.swarm.ready(this.session, { epoch, allocatedBytes });
    });
  }

  /** Stops the current loading and keeps the experts that have arrived. */
  #keepLoaded(): void {
    const loading = this.#loading;
    if (loading === undefined) return;
    this.#loading = undefined;
    this.#world.clock.clear(loading.timer);
    const done = Math.floor(loading.experts.length * this.#doneShare(loading));
    for (const expert of loading.experts.slice(0, done)) {
      this.#cached.add(expert);
      this.#resident.add(expert);
    }
  }
}

function helloOf({ donorToken, pledgeBytes }: SimDonor) {
  return {
    protocolVersions: [PROTOCOL_VERSION],
    donorToken,
    pledgeBytes,
    adapter: {
      vendor: 'virtual',
      architecture: '',
      description: '',
      isFallbackAdapter: false,
      // Large enough to limit nothing.
      maxBufferBytes: 2 ** 46,
      maxStorageBindingBytes: 2 ** 46,
    },
  };
}
