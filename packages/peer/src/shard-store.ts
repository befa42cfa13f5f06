import type { ShardOrigin } from '@shoal/protocol';
import { ShardCacheError, ShardError } from './errors.ts';
import { fetchShard, type ShardSource, sha256Hex, short } from './fetch-shard.ts';
import type { ShardCache } from './shard-cache.ts';

/** Enough to hide the round trip to the coordinator; more would only share the same line. */
export const MAX_PARALLEL_DOWNLOADS = 4;
/** A download that receives nothing for this long is aborted and retried. */
const STALL_TIMEOUT_MS = 20_000;
/** With the pauses below, this bridges about half a minute while a coordinator restarts. */
const MAX_ATTEMPTS = 6;
/** Wrong bytes once can be a transmission error; twice means that the server has wrong bytes. */
const MAX_WRONG_CONTENTS = 2;
const FIRST_RETRY_MS = 500;
const MAX_RETRY_MS = 15_000;
/** If the coordinator limits this address's bandwidth, retries follow its `Retry-After`, but at least once a minute. */
const MAX_LIMIT_PAUSE_MS = 60_000;
/** Total time spent waiting for such limits before the download fails. */
const MAX_LIMIT_WAIT_MS = 600_000;

export interface ShardStoreOptions {
  cache: ShardCache;
  /** URL of a shard; `/shards/<sha256>` on the donor page. */
  urlOf: (sha256: string) => string;
  /** Size of every shard of the model; others are rejected before hashing. */
  shardBytes: number;
  fetch: typeof fetch;
  /** Who is asked before the coordinator, in this order. */
  sources?: readonly ShardSource[];
  /** Whether the donor's limits allow this many bytes more, beside the downloads that are under way; true by default. */
  mayFetch?: (bytes: number) => boolean;
  /** Called for each shard that was downloaded and is what it should be. */
  onFetched?: (origin: ShardOrigin, bytes: number) => void;
  /** Called for each shard that the cache has. */
  onKept?: (sha256: string) => void;
  /** Called once when the browser's storage stops taking shards. Work goes on. */
  onCacheFailure: (error: ShardCacheError) => void;
  sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
}

export interface ShardDownloadObserver {
  /** Bytes that arrived; negative when an attempt failed and its bytes are discarded. */
  onBytes: (bytes: number) => void;
}

interface Download {
  sha256: string;
  bytes: number;
  signal: AbortSignal;
  observers: Set<ShardDownloadObserver>;
  /** Bytes of the current attempt, for observers that join late. */
  receivedBytes: number;
}

type InFlight = Download & { controller: AbortController; whole: Promise<Uint8Array> };

/** Provides verified shards by content hash from the cache, other sources or the coordinator. Callers that want the same shard share one download. */
export class ShardStore {
  readonly #options: Required<ShardStoreOptions>;
  readonly #inFlight = new Map<string, InFlight>();
  #cacheWorks = true;

  constructor(options: ShardStoreOptions) {
    this.#options = {
      sleep: sleepUnlessAborted,
      sources: [],
      mayFetch: () => true,
      onFetched: () => {},
      onKept: () => {},
      ...options,
    };
  }

  isDownloading(sha256: string): boolean {
    return this.#inFlight.has(sha256);
  }

  /** Returns a kept shard, or undefined. Deletes a damaged one. */
  async fromCache(sha256: string): Promise<Uint8Array | undefined> {
    const { cache } = this.#options;
    try {
      const bytes = await cache.get(sha256);
      if (!bytes) return undefined;
      if (bytes.byteLength === this.#options.shardBytes && (await sha256Hex(bytes)) === sha256) {
        this.#options.onKept(sha256);
        return bytes;
      }
      await cache.delete(sha256);
    } catch (error) {
      this.#reportCache(error);
    }
    return undefined;
  }

  /** SHA-256 of all kept shards; none where they can't be read. */
  async kept(): Promise<Set<string>> {
    return new Set(await this.#options.cache.names().catch(() => []));
  }

  /** Deletes kept shards that aren't in `keep`, once there are more than `limitBytes`. */
  async prune(keep: ReadonlySet<string>, limitBytes: number): Promise<void> {
    try {
      await this.#options.cache.prune(keep, limitBytes);
    } catch (error) {
      this.#reportCache(error);
    }
  }

  /** Downloads, verifies and keeps one shard. Throws a ShardError once retries are used up, or `cancelled` on abort. */
  async download(sha256: string, observer: ShardDownloadObserver, signal: AbortSignal): Promise<Uint8Array> {
    const { shardBytes, mayFetch } = this.#options;
    const known = this.#inFlight.get(sha256);
    if (!known && !mayFetch((this.#inFlight.size + 1) * shardBytes)) throw cancelled(sha256);
    const flight = known ?? this.#launch(sha256);
    // A separate object for each call, since two callers may pass the same observer.
    const member = { onBytes: (bytes: number) => observer.onBytes(bytes) };
    flight.observers.add(member);
    if (flight.receivedBytes > 0) observer.onBytes(flight.receivedBytes);
    try {
      return await untilAborted(flight.whole, signal, sha256);
    } finally {
      flight.observers.delete(member);
      if (flight.observers.size === 0) {
        flight.controller.abort();
        this.#forget(flight);
      }
    }
  }

  /**
   * Downloads and verifies a shard of another size, which is not kept here; the browser's own cache may keep it. Throws a ShardError
   * as `download` does, and after the first failure.
   */
  async downloadOnce(sha256: string, bytes: number, signal: AbortSignal): Promise<Uint8Array> {
    if (!this.#options.mayFetch(bytes)) throw cancelled(sha256);
    return this.#attempt({ sha256, bytes, signal, observers: new Set(), receivedBytes: 0 }, 'default');
  }

  #forget(flight: InFlight): void {
    if (this.#inFlight.get(flight.sha256) === flight) this.#inFlight.delete(flight.sha256);
  }

  #launch(sha256: string): InFlight {
    const controller = new AbortController();
    const state = {
      sha256,
      bytes: this.#options.shardBytes,
      controller,
      signal: controller.signal,
      observers: new Set<ShardDownloadObserver>(),
      receivedBytes: 0,
    };
    const flight: InFlight = Object.assign(state, { whole: this.#downloadWithRetries(state) });
    void flight.whole.catch(() => {}).then(() => this.#forget(flight));
    this.#inFlight.set(sha256, flight);
    return flight;
  }

  async #downloadWithRetries(flight: Download): Promise<Uint8Array> {
    const { sha256 } = flight;
    const { signal } = flight;
    let wrongContents = 0;
    let limitWaitMs = 0;
    for (let attempt = 1; ;) {
      try {
        const bytes = (await this.#fromSources(flight)) ?? (await this.#attempt(flight));
        await this.#keep(sha256, bytes);
        return bytes;
      } catch (error) {
        count(flight, -flight.receivedBytes);
        if (signal.aborted) throw cancelled(sha256, error);
        const failure = error instanceof ShardError ? error : networkError(sha256, error);
        if (failure.overLimit && limitWaitMs < MAX_LIMIT_WAIT_MS) {
          const pauseMs = limitPauseMs(failure);
          limitWaitMs += pauseMs;
          await this.#options.sleep(pauseMs, signal);
          if (signal.aborted) throw cancelled(sha256, error);
          continue;
        }
        if (failure.reason === 'hash' || failure.reason === 'size') wrongContents++;
        if (!failure.retryable || attempt >= MAX_ATTEMPTS || wrongContents >= MAX_WRONG_CONTENTS) throw failure;
        await this.#options.sleep(retryDelayMs(attempt++, failure), signal);
        if (signal.aborted) throw cancelled(sha256, error);
      }
    }
  }

  /** Of the coordinator. Without `cache`, the browser's own does not keep it, since Cache Storage already does. */
  async #attempt(flight: Download, cache?: RequestCache): Promise<Uint8Array> {
    const onBytes = (bytes: number): void => count(flight, bytes);
    const request = { sha256: flight.sha256, bytes: flight.bytes, signal: flight.signal, onBytes };
    const bytes = await fetchShard(request, {
      fetch: this.#options.fetch,
      url: this.#options.urlOf(flight.sha256),
      server: 'the coordinator',
      ...(cache && { cache }),
      stallMs: STALL_TIMEOUT_MS,
    });
    this.#options.onFetched('coordinator', bytes.byteLength);
    return bytes;
  }

  /** The shard from a source other than the coordinator; undefined if none provides it. */
  async #fromSources(flight: Download): Promise<Uint8Array | undefined> {
    const { sha256, bytes, signal } = flight;
    const onBytes = (received: number): void => count(flight, received);
    for (const source of this.#options.sources) {
      try {
        const shard = await source.fetch({ sha256, bytes, signal, onBytes });
        if (shard === undefined) continue;
        this.#options.onFetched(source.origin, shard.byteLength);
        return shard;
      } catch {
        // The source has taken note of it, and another may do better.
        count(flight, -flight.receivedBytes);
        if (signal.aborted) return undefined;
      }
    }
    return undefined;
  }

  async #keep(sha256: string, bytes: Uint8Array): Promise<void> {
    if (!this.#cacheWorks) return;
    try {
      await this.#options.cache.put(sha256, bytes);
      this.#options.onKept(sha256);
    } catch (error) {
      this.#reportCache(error);
    }
  }

  #reportCache(error: unknown): void {
    if (!this.#cacheWorks) return;
    // All shards have the same size, so the next ones would fail too.
    this.#cacheWorks = false;
    const isKnown = error instanceof ShardCacheError;
    const unreadable = 'The browser’s storage could not be read';
    this.#options.onCacheFailure(isKnown ? error : new ShardCacheError('unavailable', unreadable, { cause: error }));
  }
}

function count(flight: Download, bytes: number): void {
  if (bytes === 0) return;
  flight.receivedBytes += bytes;
  for (const observer of flight.observers) observer.onBytes(bytes);
}

/** Exponential backoff, half of it random so that many tabs don't retry at the same moment. */
function retryDelayMs(attempt: number, failure: ShardError): number {
  const backoffMs = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** (attempt - 1));
  return Math.max(Math.min(failure.retryAfterMs ?? 0, MAX_RETRY_MS), backoffMs * (0.5 + Math.random() / 2));
}

/** The requested pause plus up to half at random, since the other downloads were given the same one. */
function limitPauseMs({ retryAfterMs = FIRST_RETRY_MS }: ShardError): number {
  const asked = Math.min(MAX_LIMIT_PAUSE_MS, Math.max(FIRST_RETRY_MS, retryAfterMs));
  return asked * (1 + Math.random() / 2);
}

function untilAborted<T>(work: Promise<T>, signal: AbortSignal, sha256: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(cancelled(sha256));
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

function sleepUnlessAborted(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
  });
}

function networkError(sha256: string, cause: unknown): ShardError {
  return new ShardError('network', `Shard ${short(sha256)}: the download was interrupted`, { cause });
}

function cancelled(sha256: string, cause?: unknown): ShardError {
  return new ShardError('cancelled', `Shard ${short(sha256)} is no longer wanted`, { retryable: false, cause });
}
