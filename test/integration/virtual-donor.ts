import { randomBytes } from 'node:crypto';
import { createReferenceBackend, type ExpertBackend, type ExpertShape } from '@shoal/kernels';
import { EXPERT_KINDS, HOME, PeerHost, type PeerHostStats, type ShardCache } from '@shoal/peer';
import {
  type Dismissed,
  HEARTBEAT_MS,
  type Hello,
  MAX_COORDINATORS,
  PROTOCOL_VERSION,
  type Standing,
} from '@shoal/protocol';
import { type MemoryChannelPair, type MemoryWireOptions, memoryLinkPair } from '@shoal/transport';
import type { Core } from '../../coordinator/src/index.ts';
import type { PeerSession } from '../../coordinator/src/swarm/peer-session.ts';
import type { MemoryGuests } from '../../coordinator/src/swarm/testing/memory-guests.ts';
import { FilledCache, shardAt, unpackOnce } from './shared-shards.ts';

export interface VirtualDonorOptions {
  pledgeBytes?: number;
  wire?: MemoryWireOptions;
  donorToken?: string;
  /** Number of the tab among its donor's. */
  tab?: number;
  /** One with all shards by default, so that it downloads none. */
  cache?: ShardCache;
  /** As its page would report them. */
  rowFormats?: string[];
  /** Wraps the peer's experts, to imitate a faulty or dishonest tab. */
  wrapBackend?: (backend: ExpertBackend) => ExpertBackend;
  /** Delays, replaces or keeps the frames that it sends. */
  wrapSend?: (send: (frame: Uint8Array) => Promise<void>) => (frame: Uint8Array) => Promise<void>;
  /** By which it serves other coordinators than its home as well. */
  guests?: MemoryGuests;
  /** Changes the frames that it sends. */
  tamper?: (frame: Uint8Array) => Uint8Array;
}

/** A tab without a browser: the real PeerHost over the memory transport, with the reference backend for a GPU. */
export class VirtualDonor {
  session!: PeerSession;
  wire!: MemoryChannelPair;
  readonly cache: ShardCache;
  readonly donorToken: string;
  dismissed: Dismissed | undefined;
  standing: Standing | undefined;
  downloads = 0;
  readonly #host: PeerHost;
  readonly #options: VirtualDonorOptions;
  /** Its home. */
  #core!: Core;

  private constructor(core: Core, options: VirtualDonorOptions) {
    this.#options = options;
    this.donorToken = options.donorToken ?? randomBytes(16).toString('hex');
    this.cache = options.cache ?? new FilledCache(core.packed);
    this.#host = new PeerHost({
      cache: this.cache,
      createBackend: async (shape: ExpertShape) => {
        const backend = createReferenceBackend(shape, unpackOnce);
        return options.wrapBackend?.(backend) ?? backend;
      },
      urlOf: (sha256) => `memory:/shards/${sha256}`,
      fetch: async (input) => {
        this.downloads++;
        const sha256 = String(input).split('/').at(-1)!;
        const adapter = core.adapters.shards.shard(sha256);
        return new Response(adapter ? adapter.contents() : await shardAt(core.packed.shardPath(sha256)!));
      },
      events: {
        onProgress: (progress) => this.#core.swarm.progress(this.session, progress),
        onReady: (ready) => void this.#core.swarm.ready(this.session, ready),
        onTrouble: (trouble) => this.#core.swarm.trouble(this.session, trouble),
        onAdapted: (adapted) => this.#core.swarm.adapters?.adapted(this.session, adapted),
        onCacheFailure: () => {},
        onLinkClosed: () => {},
        onBackendGone: () => {},
      },
    });
    this.#join(core);
  }

  #join(core: Core): void {
    this.#core = core;
    const { guests, pledgeBytes = 64 * 2 ** 20, tab, rowFormats } = this.#options;
    const introduction = hello(this.donorToken, pledgeBytes, tab);
    if (rowFormats) introduction.rowFormats = rowFormats;
    if (guests) introduction.maxCoordinators = MAX_COORDINATORS;
    const { relay } = core.swarm.guests ?? {};
    const session = core.swarm.join(introduction, 'memory', {
      assign: (message) => this.#core === core && this.#host.assign(message),
      adapters: (message) => this.#host.adapt(message),
      standing: (message) => (this.standing = message),
      guest: (guest) =>
        guest.open ? relay!.fromTab(session, guests!.offer(guest)) : this.#host.detach('goodbye', guest.coordinator),
      signal: (signal) => {
        const link = guests!.linkOf(session.peerId, signal);
        if (link) this.#host.attach(link, signal.guest!.coordinator);
      },
      dismiss: (message) => (this.dismissed = message),
    });
    this.session = session;
    const { a, b, wire } = memoryLinkPair({ ...this.#options.wire, aLink: { heartbeatMs: HEARTBEAT_MS } });
    this.wire = wire;
    const { tamper, wrapSend } = this.#options;
    const send = b.send.bind(b);
    if (tamper) b.send = (frame) => send(tamper(frame));
    if (wrapSend) b.send = wrapSend(send);
    this.#host.attach(b);
    core.swarm.attach(session, a);
  }

  static async join(core: Core, options: VirtualDonorOptions = {}): Promise<VirtualDonor> {
    const donor = new VirtualDonor(core, options);
    await donor.#configure();
    return donor;
  }

  async #configure(): Promise<void> {
    const { scheduler, packed } = this.#core;
    const { shape, shardBytes } = packed.manifest;
    await this.#host.configure({ id: scheduler.modelId, ...shape, shardBytes }, this.session.hello.pledgeBytes);
  }

  /** Its home has ended: it says hello to another, with what it holds. Links of guests stay. */
  async changeHome(core: Core): Promise<void> {
    this.#host.detach('goodbye', HOME);
    this.#join(core);
    await this.#configure();
  }

  /** Crashes the tab: the wire dies without a goodbye. */
  kill(how: 'abrupt' | 'black-hole' = 'abrupt'): void {
    this.wire.die(how);
  }

  stats(): PeerHostStats {
    return this.#host.stats();
  }

  async close(): Promise<void> {
    await this.#host.close();
  }
}

export function hello(donorToken: string, pledgeBytes: number, tab?: number): Hello {
  return {
    protocolVersions: [PROTOCOL_VERSION],
    expertKinds: EXPERT_KINDS,
    donorToken,
    ...(tab !== undefined && { tab }),
    pledgeBytes,
    adapter: {
      vendor: 'shoal',
      architecture: 'reference',
      description: 'plain TypeScript',
      isFallbackAdapter: true,
      maxBufferBytes: 2 ** 30,
      maxStorageBindingBytes: 2 ** 30,
    },
  };
}

/** Waits until `condition` holds, or fails naming `what`. The bound catches hanging tests and measures no speed. */
export async function until(what: string, condition: () => boolean, timeoutMs = 90_000): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error(`Waited ${timeoutMs / 1000} s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Size of a peer's window of lap times. */
const SLOW_LAPS = 64;

/**
 * Makes these tabs count as slow. Laps go to the tab that is expected to answer first, so another with the same experts
 * is asked from now on, whatever the machine's load was.
 */
export function countAsSlow(...donors: readonly VirtualDonor[]): void {
  for (const { session } of donors) for (let lap = 0; lap < SLOW_LAPS; lap++) session.laps.lapMs.add(1_000);
}

/** Every joined tab serves what the plan wants of it, and no expert is without one. */
export function covered(core: Core): boolean {
  return core.swarm.uncovered() === 0 && core.swarm.peers.every((peer) => peer.settled);
}
