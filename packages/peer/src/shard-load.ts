import { ShardError } from './errors.ts';
import { MAX_PARALLEL_DOWNLOADS, type ShardStore } from './shard-store.ts';
import { TransferRate } from './transfer-rate.ts';

export interface LoadProgress {
  /** `downloading` until the last byte has come, then `uploading` to the GPU. */
  phase: 'downloading' | 'uploading';
  doneBytes: number;
  totalBytes: number;
  /** Of doneBytes, how much came out of the browser's own cache. */
  cachedBytes: number;
  /** Over the last seconds; undefined until there is enough to tell. */
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
  /** Hands a verified shard on, one at a time. */
  deliver: (shard: WantedShard, bytes: Uint8Array) => Promise<void>;
  onProgress: (progress: LoadProgress) => void;
  signal: AbortSignal;
  nowMs?: () => number;
}

/** Bring all the shards, several downloads at once, each delivered as soon as it is there. Rejects with the first failure. */
export async function loadShards(options: ShardLoadOptions): Promise<void> {
  await new ShardLoad(options).run();
}

class ShardLoad {
  readonly #options: ShardLoadOptions;
  readonly #rate: TransferRate;
  readonly #failed = new AbortController();
  readonly #signal: AbortSignal;
  readonly #queue: WantedShard[];
  readonly #totalBytes: number;
  #doneBytes = 0;
  #cachedBytes = 0;
  #delivered: Promise<void> = Promise.resolve();

  constructor(options: ShardLoadOptions) {
    this.#options = options;
    this.#rate = new TransferRate(options.nowMs ?? (() => performance.now()));
    this.#signal = AbortSignal.any([options.signal, this.#failed.signal]);
    this.#totalBytes = options.shards.length * options.shardBytes;
    // What an earlier assignment has begun to download comes first, so that its download is joined and not repeated.
    const isDownloading = (shard: WantedShard) => Number(options.store.isDownloading(shard.sha256));
    this.#queue = [...options.shards].sort((a, b) => isDownloading(b) - isDownloading(a));
  }

  async run(): Promise<void> {
    this.#report();
    const lanes = Math.min(MAX_PARALLEL_DOWNLOADS, this.#queue.length);
    const results = await Promise.allSettled(Array.from({ length: lanes }, () => this.#lane()));
    const failures = results.filter((result) => result.status === 'rejected').map((result) => result.reason as unknown);
    // The other lanes were cancelled because of the first real failure: that is the one to tell.
    const first =
      failures.find((error) => !(error instanceof ShardError && error.reason === 'cancelled')) ?? failures[0];
    if (first !== undefined) throw first;
  }

  async #lane(): Promise<void> {
    try {
      for (let shard = this.#queue.shift(); shard; shard = this.#queue.shift()) {
        const bytes = await this.#fetch(shard);
        await this.#deliver(shard, bytes);
      }
    } catch (error) {
      this.#failed.abort();
      throw error;
    }
  }

  async #fetch(shard: WantedShard): Promise<Uint8Array> {
    const { store, shardBytes } = this.#options;
    // A download already running was not found in the cache a moment ago.
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

  /** One after the other: a GPU takes uploads one at a time anyway, and errors can then be laid at one shard's door. */
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
