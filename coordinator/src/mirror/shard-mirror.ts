import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { setNewest } from '../base/newest.ts';
import type { DiskCache } from './disk-cache.ts';
import { Flight, type FlightOptions, UpstreamError } from './flight.ts';

/** Shards fetched at a time, each held in memory until it is whole and written. */
const MAX_FLIGHTS = 16;
/** Shards that wait for their turn; a client beyond is told to come back. */
const MAX_WAITING = 256;
/** How long upstream is not asked again for a shard that it lacks. */
const MISSING_MS = 10_000;
const MAX_MISSING = 10_000;

export interface MirrorFigures {
  /** Requests answered from the disk, and those that waited for upstream. */
  hits: number;
  misses: number;
  servedBytes: number;
  fetchedShards: number;
  fetchedBytes: number;
  upstreamErrors: number;
  /** Shards for which the disk had no room. */
  notKept: number;
  /** Files that were not what their names say, and were removed. */
  damaged: number;
}

export interface ShardMirrorOptions extends Pick<FlightOptions, 'fetch' | 'stallMs' | 'attempts' | 'firstRetryMs'> {
  cache: DiskCache;
  urlOf: (sha256: string) => string;
}

/** A shard that is being served: its size, and its bytes from a position on. A failed check ends the bytes before the last ones. */
export interface ServedShard {
  bytes: number;
  read(from: number): AsyncIterable<Buffer>;
}

/** Serves shards from the disk, else from upstream, once for all who ask at the same time. Every byte is checked. */
export class ShardMirror {
  readonly figures: MirrorFigures = {
    hits: 0,
    misses: 0,
    servedBytes: 0,
    fetchedShards: 0,
    fetchedBytes: 0,
    upstreamErrors: 0,
    notKept: 0,
    damaged: 0,
  };
  readonly #options: ShardMirrorOptions;
  readonly #flights = new Map<string, Promise<Flight>>();
  /** Turns of shards that wait, in order. */
  readonly #waiting: (() => void)[] = [];
  readonly #missing = new Map<string, number>();
  readonly #ended = new AbortController();
  #flying = 0;

  constructor(options: ShardMirrorOptions) {
    this.#options = options;
  }

  has(sha256: string): boolean {
    return this.#options.cache.find(sha256) !== undefined;
  }

  /** Rejects with an UpstreamError. */
  async serve(sha256: string): Promise<ServedShard> {
    const found = this.#options.cache.find(sha256);
    if (found) {
      this.figures.hits++;
      return { bytes: found.bytes, read: (from) => this.#fromDisk(sha256, found, from) };
    }
    this.figures.misses++;
    const flight = await (this.#flights.get(sha256) ?? this.#launch(sha256));
    return { bytes: await flight.bytes(), read: (from) => flight.read(from) };
  }

  /** Gives up what is on its way, and waits for what is being written. */
  async close(): Promise<void> {
    this.#ended.abort();
    await this.#options.cache.settled();
  }

  #launch(sha256: string): Promise<Flight> {
    const sinceMs = this.#missing.get(sha256);
    if (sinceMs !== undefined && performance.now() - sinceMs < MISSING_MS) {
      return Promise.reject(new UpstreamError(404, 'Upstream has no such shard'));
    }
    if (this.#waiting.length >= MAX_WAITING) {
      return Promise.reject(new UpstreamError(503, 'Too many shards are being fetched', { retryAfterS: 5 }));
    }
    const flight = this.#takeTurn().then(() => this.#fly(sha256));
    this.#flights.set(sha256, flight);
    flight.catch(() => this.#flights.delete(sha256));
    return flight;
  }

  #takeTurn(): Promise<void> {
    if (this.#flying < MAX_FLIGHTS) {
      this.#flying++;
      return Promise.resolve();
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #fly(sha256: string): Flight {
    const { urlOf, fetch, stallMs, attempts, firstRetryMs } = this.#options;
    const flight = new Flight({
      sha256,
      url: urlOf(sha256),
      fetch,
      stallMs,
      ...(attempts !== undefined && { attempts }),
      ...(firstRetryMs !== undefined && { firstRetryMs }),
      signal: this.#ended.signal,
    });
    void this.#land(flight);
    return flight;
  }

  /** Keeps the shard, and lets the next one fly. */
  async #land(flight: Flight): Promise<void> {
    const { sha256 } = flight;
    try {
      const bytes = await flight.whole;
      this.figures.fetchedShards++;
      this.figures.fetchedBytes += bytes.byteLength;
      if (!(await this.#options.cache.put(sha256, bytes))) this.figures.notKept++;
    } catch (error) {
      if ((error as UpstreamError).status === 404) setNewest(this.#missing, sha256, performance.now(), MAX_MISSING);
      else this.figures.upstreamErrors++;
    } finally {
      this.#flights.delete(sha256);
      const next = this.#waiting.shift();
      if (next) next();
      else this.#flying--;
    }
  }

  async *#fromDisk(
    sha256: string,
    { path, bytes }: { path: string; bytes: number },
    from: number,
  ): AsyncGenerator<Buffer> {
    const hash = createHash('sha256');
    let read = 0;
    /** What is known to be wanted, and not yet known to be right. */
    let kept: Buffer | undefined;
    try {
      for await (const chunk of createReadStream(path, { end: bytes - 1 }) as AsyncIterable<Buffer>) {
        hash.update(chunk);
        if (kept) yield kept;
        kept = read + chunk.byteLength > from ? chunk.subarray(Math.max(0, from - read)) : undefined;
        read += chunk.byteLength;
      }
    } catch (error) {
      await this.#options.cache.delete(sha256);
      throw error;
    }
    if (read !== bytes || hash.digest('hex') !== sha256) {
      this.figures.damaged++;
      await this.#options.cache.delete(sha256);
      throw new UpstreamError(502, `The file of ${sha256.slice(0, 12)} was damaged and has been removed`);
    }
    if (kept) yield kept;
  }
}
