import { KernelError, type ExpertBackend, type ExpertShape } from '@shoal/kernels';
import {
  type Adapted,
  type AdapterShards,
  allExpertKinds,
  type Assign,
  type Fetched,
  type Progress,
  type Ready,
  type ShardRef,
  type Trouble,
} from '@shoal/protocol';
import { QUANTS } from '@shoal/weights';
import type { Link, LinkCloseReason } from '@shoal/transport';
import { type Allowance, AllowanceWatch } from './allowance.ts';
import { ShardError, type ShardCacheError } from './errors.ts';
import { expertsByLayer, keyOf } from './expert-keys.ts';
import { ExpertRunner, HOME, type RunnerCounters } from './expert-runner.ts';
import { TabExchange, type TabExchangeOptions } from './exchange/tab-exchange.ts';
import { type FetchedBytes, FetchTally } from './fetch-tally.ts';
import { HeldAdapters } from './held-adapters.ts';
import { Mirrors } from './mirrors.ts';
import { type PeerModel, sameModel, shapeOf } from './peer-model.ts';
import type { ShardCache } from './shard-cache.ts';
import { loadShards, type LoadProgress } from './shard-load.ts';
import { ShardStore } from './shard-store.ts';
import { MAX_MESSAGE_CHARS, troubleOf } from './trouble.ts';
import { withDeadline } from './with-deadline.ts';

/** Delays before each attempt to replace a lost device, since the driver needs a moment. After the last one the tab gives up. */
const REBUILD_DELAYS_MS = [500, 3_000, 10_000] as const;
/** Time for laps on the GPU to finish before experts are unloaded. A GPU that takes longer has hung. */
const DRAIN_TIMEOUT_MS = 10_000;
/** Limit on kept weights in the browser's storage, in pledges: leaves room for another assignment's or another tab's shards. */
export const KEPT_PLEDGES = 2;

export interface PeerHostOptions {
  /** Rejects with a KernelError. */
  createBackend: (shape: ExpertShape) => Promise<ExpertBackend>;
  cache: ShardCache;
  urlOf: (sha256: string) => string;
  fetch: typeof fetch;
  /** Asks the coordinator which tabs have which shards; without it, none are exchanged. */
  seek?: TabExchangeOptions['seek'];
  events: PeerHostEvents;
  rebuildDelaysMs?: readonly number[];
  /** The computer's clock, in milliseconds of Unix. */
  unixMs?: () => number;
}

export interface PeerHostEvents {
  onProgress(progress: Progress & LoadProgress): void;
  onReady(ready: Ready): void;
  onTrouble(trouble: Trouble): void;
  /** What became of low-rank shards. Needed of tabs that name `low-rank` among their kinds of experts. */
  onAdapted?(adapted: Adapted): void;
  /** Shards can't be kept for the next visit; this one goes on. */
  onCacheFailure(error: ShardCacheError): void;
  /** Of the home's link (`HOME`), or of the named guest's. */
  onLinkClosed(reason: LinkCloseReason, coordinator: string): void;
  /** What the donor's limits allowed is used up: the tab rests. */
  onSpent?(): void;
  /** A lost device could not be replaced. */
  onBackendGone(error: KernelError): void;
}

export interface PeerHostStats extends RunnerCounters {
  allocatedBytes: number;
  expertsLoaded: number;
  /** Of low-rank shards that it holds, or is fetching. */
  adapterBytes: number;
  /** Since the page was opened. */
  fetched: FetchedBytes;
  /** Coordinators that it has links to. */
  coordinators: number;
  /** To the home. */
  rttMs: number | undefined;
}

/**
 * The work of a donor's tab: holds the assigned experts and answers laps for them. Each assignment replaces the one before; links
 * may come and go without affecting the weights.
 */
export class PeerHost {
  readonly #options: PeerHostOptions;
  readonly #runner: ExpertRunner;
  #model: PeerModel | undefined;
  #pledgeBytes = 0;
  #backend: ExpertBackend | undefined;
  #store: ShardStore | undefined;
  readonly #mirrors: Mirrors;
  readonly #fetched = new FetchTally();
  /** Of shards with other tabs. Off until `start`. */
  readonly exchange: TabExchange;
  /** SHA-256 of each expert on the backend. */
  readonly #loaded = new Map<string, string>();
  readonly #adapters: HeldAdapters;
  readonly #allowed: AllowanceWatch;
  /** The assignment waits for the end of a rest. */
  #isInterrupted = false;
  #assignment: Assign | undefined;
  #applying: AbortController | undefined;
  #applied: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: PeerHostOptions) {
    this.#options = options;
    this.#mirrors = new Mirrors({ fetch: options.fetch });
    const holds = (layer: number, expert: number): boolean => this.#loaded.has(keyOf(layer, expert));
    this.#adapters = new HeldAdapters({
      holdsExpert: holds,
      roomBytes: () => this.#pledgeBytes - (this.#assignment?.shards.length ?? 0) * (this.#model?.shardBytes ?? 0),
      onAdapted: (adapted) => options.events.onAdapted?.(adapted),
    });
    this.#allowed = new AllowanceWatch({
      trafficBytes: () => trafficOf({ ...this.#runner.counters, fetched: this.#fetched.bytes }),
      onSpent: () => {
        this.#rest();
        options.events.onSpent?.();
      },
      unixMs: options.unixMs,
    });
    this.#runner = new ExpertRunner({
      holds,
      mayWork: () => this.#allowed.mayWork,
      adaptersOf: (dispatch) => this.#adapters.of(dispatch),
      onLinkClosed: (reason, coordinator) => options.events.onLinkClosed(reason, coordinator),
    });
    this.exchange = new TabExchange({
      seek: options.seek ?? (() => Promise.reject(new Error('No tracker'))),
      bytesOf: async (sha256) => this.#store?.fromCache(sha256),
      isIdle: () => this.#runner.isIdle && this.#allowed.mayWork,
      onGiven: (bytes) => this.#fetched.add('given', bytes),
    });
  }

  /**
   * Creates a backend for the coordinator's model, or keeps the present one if the model is the same. `shardUrls`: the mirrors that
   * the coordinator names. Rejects with a KernelError.
   */
  async configure(model: PeerModel, pledgeBytes: number, shardUrls: readonly string[] = []): Promise<void> {
    this.#pledgeBytes = pledgeBytes;
    this.#mirrors.use(shardUrls);
    // The numbers of low-rank shards are those of a visit.
    this.#adapters.clear();
    if (this.#backend && this.#model && sameModel(this.#model, model)) return;
    await this.#stopApplying();
    // The guests are of the cluster of another model.
    for (const coordinator of this.#runner.links.keys()) if (coordinator !== HOME) this.detach('goodbye', coordinator);
    this.#dropBackend();
    this.#model = model;
    this.#store = new ShardStore({
      cache: this.#options.cache,
      urlOf: this.#options.urlOf,
      fetch: this.#options.fetch,
      shardBytes: model.shardBytes,
      sources: [this.#mirrors, this.exchange],
      mayFetch: (bytes) => this.#allowed.mayFetch(bytes),
      onKept: (sha256) => this.exchange.has(sha256),
      onFetched: (origin, bytes) => this.#fetched.add(origin, bytes),
      onCacheFailure: (error) => this.#options.events.onCacheFailure(error),
    });
    this.#useBackend(await this.#options.createBackend(shapeOf(model)));
  }

  /** Takes laps from the home's link, or from that of a guest. */
  attach(link: Link, coordinator = HOME): void {
    this.#runner.attach(link, coordinator);
  }

  /** Ends the home's link, or that of a guest. */
  detach(reason: LinkCloseReason, coordinator = HOME): void {
    this.#runner.detach(reason, coordinator);
  }

  /** Loads these experts and no others. `onReady` or `onTrouble` follows, unless a later assignment comes first. */
  assign(assignment: Assign): void {
    this.#assignment = assignment;
    this.#runner.epoch = assignment.epoch;
    this.#adapters.fit();
    const controller = new AbortController();
    this.#keepDownloading(assignment, controller.signal);
    this.#applying?.abort();
    this.#applying = controller;
    const before = this.#applied;
    this.#applied = before.then(() => this.#apply(assignment, controller.signal));
  }

  /** Gives up and fetches low-rank shards. `onAdapted` follows if some are to be fetched. */
  adapt(message: AdapterShards): void {
    if (this.#store) void this.#adapters.apply(message, this.#store, () => this.#backend);
  }

  setPaused(paused: boolean): void {
    this.#runner.setPaused(paused);
  }

  /** Holds it to its donor's limits from now on. At the end of a rest it goes on to load what it is to hold. */
  allow(allowance: Allowance): void {
    this.#allowed.allowance = allowance;
    this.#runner.share = allowance.share;
    if (!this.#allowed.mayWork) return this.#rest();
    if (this.#isInterrupted && this.#assignment) this.assign(this.#assignment);
  }

  /** Experts stay loaded, unless the coordinator takes them. */
  #rest(): void {
    this.#runner.refuseWaiting();
    this.#applying?.abort();
    this.#isInterrupted = true;
  }

  stats(): PeerHostStats {
    const { links } = this.#runner;
    return {
      ...this.#runner.counters,
      allocatedBytes: this.#backend?.allocatedBytes ?? 0,
      expertsLoaded: this.#loaded.size,
      adapterBytes: this.#adapters.bytes,
      fetched: this.#fetched.bytes,
      coordinators: links.size,
      rttMs: links.get(HOME)?.link.stats().rttMs,
    };
  }

  /** The mirrors' faults since the last call. */
  takeMirrorFaults(): Fetched['mirrorFaults'] {
    return this.#mirrors.takeFaults();
  }

  /** Resolves when the current assignment has been loaded or has failed. */
  async settled(): Promise<void> {
    await this.#applied;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.exchange.stop();
    this.#runner.detachAll('goodbye');
    await this.#stopApplying();
    this.#dropBackend();
  }

  async #stopApplying(): Promise<void> {
    this.#assignment = undefined;
    this.#applying?.abort();
    await this.#applied;
  }

  /** Joins running downloads that this assignment needs too, so that aborting the earlier one doesn't cancel them. */
  #keepDownloading(assignment: Assign, signal: AbortSignal): void {
    const store = this.#store;
    for (const { sha256 } of assignment.shards) {
      if (store?.isDownloading(sha256)) store.download(sha256, { onBytes: () => {} }, signal).catch(() => {});
    }
  }

  /** Never rejects: errors are reported as trouble, and what was loaded stays loaded. */
  async #apply(assignment: Assign, signal: AbortSignal): Promise<void> {
    const { epoch } = assignment;
    try {
      if (signal.aborted) return;
      this.#isInterrupted = !this.#allowed.mayWork;
      const backend = this.#requireBackend();
      this.#checkLimits(assignment, backend);
      await this.#unloadAllBut(assignment.shards, backend);
      await this.#loadMissing(assignment, backend, signal);
      if (signal.aborted) return;
      this.#options.events.onReady({ epoch, allocatedBytes: backend.allocatedBytes });
      const wanted = new Set(assignment.shards.map(({ sha256 }) => sha256));
      await this.#store!.prune(wanted, KEPT_PLEDGES * this.#pledgeBytes);
    } catch (error) {
      if (signal.aborted || isCancelled(error)) return;
      this.#options.events.onTrouble({ epoch, ...troubleOf(error) });
    }
  }

  #checkLimits({ shards }: Assign, backend: ExpertBackend): void {
    const neededBytes = shards.length * this.#model!.shardBytes;
    if (neededBytes > this.#pledgeBytes) {
      const message = `${shards.length} experts need ${neededBytes} bytes, but only ${this.#pledgeBytes} are lent`;
      throw new KernelError('limits', message);
    }
    const { maxExpertsPerLayer } = backend;
    for (const [layer, { length }] of expertsByLayer(shards)) {
      if (length <= maxExpertsPerLayer) continue;
      const message = `${length} experts of layer ${layer} were assigned, but this GPU holds only ${maxExpertsPerLayer} per layer`;
      throw new KernelError('limits', message);
    }
  }

  /** Unloads first, to make room. Laps for these experts are refused from now on. */
  async #unloadAllBut(shards: readonly ShardRef[], backend: ExpertBackend): Promise<void> {
    const wanted = new Map(shards.map((shard) => [keyOf(shard.layer, shard.expert), shard.sha256]));
    const goners = [...this.#loaded].filter(([key, sha256]) => wanted.get(key) !== sha256).map(([key]) => key);
    if (goners.length === 0) return;
    for (const key of goners) this.#loaded.delete(key);
    this.#adapters.fit();
    await withDeadline(this.#runner.drained(), DRAIN_TIMEOUT_MS, () => {
      return new KernelError('device-lost', `The GPU has not finished a lap within ${DRAIN_TIMEOUT_MS / 1000} s`);
    });
    for (const key of goners) {
      const [layer, expert] = key.split('.').map(Number);
      backend.unload(layer!, expert!);
    }
  }

  async #loadMissing({ epoch, shards }: Assign, backend: ExpertBackend, signal: AbortSignal): Promise<void> {
    const missing = shards.filter(({ layer, expert }) => !this.#loaded.has(keyOf(layer, expert)));
    if (missing.length === 0) return;
    // While it rests, it only gives up what it is not to hold.
    if (this.#isInterrupted) throw new ShardError('cancelled', 'the tab rests', { retryable: false });
    const changedLayers = new Set(missing.map(({ layer }) => layer));
    for (const [layer, experts] of expertsByLayer(shards)) {
      if (changedLayers.has(layer)) await backend.reserve(layer, experts);
    }
    const isExchanged = this.exchange.isOn && !this.#mirrors.isOpen;
    await loadShards({
      store: this.#store!,
      choose: isExchanged ? (left, until) => this.exchange.choose(left, until) : undefined,
      shards: missing,
      shardBytes: this.#model!.shardBytes,
      signal,
      onProgress: (progress) => this.#options.events.onProgress({ epoch, ...progress }),
      deliver: async ({ layer, expert, sha256 }, bytes) => {
        await backend.load(layer, expert, bytes);
        // If the backend was replaced meanwhile, the load doesn't count.
        if (this.#backend === backend) this.#loaded.set(keyOf(layer, expert), sha256);
      },
    });
  }

  #requireBackend(): ExpertBackend {
    if (!this.#backend) throw new KernelError('device-lost', 'The GPU device is not available at the moment');
    return this.#backend;
  }

  #useBackend(backend: ExpertBackend): void {
    if (this.#closed) return backend.destroy();
    this.#backend = backend;
    this.#runner.setBackend(backend);
    void backend.lost.then((reason) => {
      if (this.#backend === backend) void this.#rebuild(reason);
    });
  }

  #dropBackend(deviceLost = false): void {
    const backend = this.#backend;
    this.#backend = undefined;
    this.#loaded.clear();
    this.#adapters.clear();
    this.#runner.setBackend(undefined, deviceLost);
    backend?.destroy();
  }

  /** Reports the loss at once, then creates a new backend and reloads the shards from the browser's cache. */
  async #rebuild(reason: string): Promise<void> {
    const model = this.#model!;
    const epoch = this.#assignment?.epoch ?? this.#runner.epoch;
    this.#applying?.abort();
    this.#dropBackend(true);
    this.#options.events.onTrouble({ epoch, code: 'device-lost', message: reason.slice(0, MAX_MESSAGE_CHARS) });
    await this.#applied;
    let failure: unknown;
    for (const delayMs of this.#options.rebuildDelaysMs ?? REBUILD_DELAYS_MS) {
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      if (this.#closed || this.#backend || this.#model !== model) return;
      try {
        this.#useBackend(await this.#options.createBackend(shapeOf(model)));
        if (this.#assignment) this.assign(this.#assignment);
        return;
      } catch (error) {
        failure = error;
      }
    }
    this.#options.events.onBackendGone(
      failure instanceof KernelError ? failure : new KernelError('device-lost', reason, { cause: failure }),
    );
  }
}

function isCancelled(error: unknown): boolean {
  return error instanceof ShardError && error.reason === 'cancelled';
}

/** Bytes that a tab has sent and received, of laps and of weights: what its donor's limits of traffic count. */
export function trafficOf({ bytesSent, bytesReceived, fetched }: Traffic): number {
  const { coordinator, mirror, tab, given } = fetched;
  return bytesSent + bytesReceived + coordinator + mirror + tab + given;
}
type Traffic = Pick<PeerHostStats, 'bytesSent' | 'bytesReceived' | 'fetched'>;

/** `hello.expertKinds` of tabs that compute with this package. */
export const EXPERT_KINDS: string[] = allExpertKinds(QUANTS);
