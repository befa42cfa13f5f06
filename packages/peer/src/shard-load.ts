import { ShardError } from './errors.ts';
import { MAX_PARALLEL_DOWNLOADS, type ShardStore } from './shard-store.ts';
import { TransferRate } from './transfer-rate.ts';

export interface LoadProgress {
  /** `downloading` until the last byte has arrived, then `uploading` to the GPU. */
  phase: 'downloading' | 'uploading';
  doneBytes: number;
  totalBytes: number;
  /** Part of doneBytes that came from the browser's cache. */
  cachedBytes: number;
  /** Average over the last seconds; undefined until there is enough data. */
  bytesPerSecond: number | undefined;
  secondsLeft: number | undefined;
}

export interface WantedShard {
  layer: number;
  expert: number;
  sha256: string;
}

export interface ShardLoadOptions {
  store: ShardStore;
  shards: readonly WantedShard[];
  shardBytes: number;
  /** Receives each verified shard, one at a time. */
  deliver: (shard: WantedShard, bytes: Uint8Array) => Promise<void>;
  onProgress: (progress: LoadProgress) => void;
  /** Which shard to fetch next, of those that are not kept; in their order by default. */
  choose?: ((left: () => readonly string[], signal: AbortSignal) => Promise<string | undefined>) | undefined;
  signal: AbortSignal;
  nowMs?: () => number;
}

/** Loads all shards with several downloads in parallel, delivering each as soon as it arrives. Rejects with the first failure. */
export async function loadShards(options: ShardLoadOptions): Promise<void> {
  await new ShardLoad(options).run();
}

class ShardLoad {
  readonly #options: ShardLoadOptions;
  readonly #rate: TransferRate;
  readonly #failed = new AbortController();
  readonly #signal: AbortSignal;
  readonly #queue: WantedShard[];
  /** Kept shards, which come first where others are chosen. */
  #kept = new Set<string>();
  readonly #totalBytes: number;
  #doneBytes = 0;
  #cachedBytes = 0;
  #delivered: Promise<void> = Promise.resolve();

  constructor(options: ShardLoadOptions) {
    this.#options = options;
    this.#rate = new TransferRate(options.nowMs ?? (() => performance.now()));
    this.#signal = AbortSignal.any([options.signal, this.#failed.signal]);
    this.#totalBytes = options.shards.length * options.shardBytes;
    // Downloads that an earlier assignment started come first, so that they are joined and not repeated.
    const isDownloading = (shard: WantedShard) => Number(options.store.isDownloading(shard.sha256));
    // In another order in each tab where they are chosen, so that tabs that join together fetch different ones first.
    const shards = options.choose ? shuffled(options.shards) : [...options.shards];
    this.#queue = shards.sort((a, b) => isDownloading(b) - isDownloading(a));
  }

  async run(): Promise<void> {
    this.#report();
    if (this.#options.choose) this.#kept = await this.#options.store.kept();
    const inParallel = Math.min(MAX_PARALLEL_DOWNLOADS, this.#queue.length);
    const results = await Promise.allSettled(Array.from({ length: inParallel }, () => this.#downloadQueue()));
    const failures = results.filter((result) => result.status === 'rejected').map((result) => result.reason as unknown);
    // The first real failure cancelled the other downloads, so that is the one to report.
    const first =
      failures.find((error) => !(error instanceof ShardError && error.reason === 'cancelled')) ?? failures[0];
    if (first !== undefined) throw first;
  }

  /** Takes shards from the queue until it is empty; several of these run in parallel. */
  async #downloadQueue(): Promise<void> {
    try {
      for (let shard = await this.#next(); shard; shard = await this.#next()) {
        await this.#deliver(shard, await this.#fetch(shard));
      }
    } catch (error) {
      this.#failed.abort();
      throw error;
    }
  }

  async #next(): Promise<WantedShard | undefined> {
    const { choose } = this.#options;
    const kept = choose ? this.#queue.findIndex(({ sha256 }) => this.#kept.has(sha256)) : 0;
    if (choose === undefined || kept >= 0) return this.#queue.splice(kept, 1)[0];
    for (;;) {
      const chosen = await choose(() => this.#queue.map(({ sha256 }) => sha256), this.#signal);
      if (chosen === undefined) return undefined;
      const at = this.#queue.findIndex(({ sha256 }) => sha256 === chosen);
      // Another of the downloads may have taken it meanwhile.
      if (at >= 0) return this.#queue.splice(at, 1)[0];
    }
  }

  async #fetch(shard: WantedShard): Promise<Uint8Array> {
    const { store, shardBytes } = this.#options;
    // If a download is running, the shard was not in the cache a moment ago.
    const kept = store.isDownloading(shard.sha256) ? undefined : await store.fromCache(shard.sha256);
    this.#stopIfCancelled(shard);
    if (kept) {
      this.#cachedBytes += shardBytes;
      this.#count(shardBytes);
      return kept;
    }
    const onBytes = (bytes: number) => {
      this.#rate.add(bytes);
      this.#count(bytes);
    };
    return store.download(shard.sha256, { onBytes }, this.#signal);
  }

  /** Delivers one at a time: a GPU takes uploads one by one anyway, and an error then belongs to one shard. */
  async #deliver(shard: WantedShard, bytes: Uint8Array): Promise<void> {
    const mine = this.#delivered.then(async () => {
      this.#stopIfCancelled(shard);
      await this.#options.deliver(shard, bytes);
    });
    this.#delivered = mine.catch(() => {});
    await mine;
  }

  #stopIfCancelled(shard: WantedShard): void {
    if (this.#signal.aborted) {
      throw new ShardError('cancelled', `Expert ${shard.expert} of layer ${shard.layer} is no longer wanted`, {
        retryable: false,
      });
    }
  }

  #count(bytes: number): void {
    this.#doneBytes += bytes;
    if (!this.#signal.aborted) this.#report();
  }

  #report(): void {
    const leftBytes = this.#totalBytes - this.#doneBytes;
    const bytesPerSecond = this.#rate.bytesPerSecond();
    this.#options.onProgress({
      phase: leftBytes > 0 ? 'downloading' : 'uploading',
      doneBytes: this.#doneBytes,
      totalBytes: this.#totalBytes,
      cachedBytes: this.#cachedBytes,
      bytesPerSecond,
      secondsLeft: bytesPerSecond ? leftBytes / bytesPerSecond : undefined,
    });
  }
}

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}
