export type ShardErrorReason = 'network' | 'http' | 'stalled' | 'size' | 'hash' | 'cancelled';

/** A shard could not be had. `reason` says why, the message names the shard and the remedy. */
export class ShardError extends Error {
  readonly reason: ShardErrorReason;
  /** Whether asking again may help; a shard that the coordinator doesn't have, for example, will not appear. */
  readonly retryable: boolean;
  /** What the server asked us to wait before asking again, if it said. */
  readonly retryAfterMs: number | undefined;
  /** The server has nothing against the request but how many there are: it is no failure, and waiting cures it. */
  readonly overLimit: boolean;

  constructor(
    reason: ShardErrorReason,
    message: string,
    options: ErrorOptions & { retryable?: boolean; retryAfterMs?: number | undefined; overLimit?: boolean } = {},
  ) {
    super(message, options);
    this.name = 'ShardError';
    this.reason = reason;
    this.retryable = options.retryable ?? true;
    this.retryAfterMs = options.retryAfterMs;
    this.overLimit = options.overLimit ?? false;
  }
}

export type ShardCacheErrorReason = 'quota' | 'unavailable';

/** The browser's own storage could not keep a shard. Never fatal: the weights stay on the GPU for this visit. */
export class ShardCacheError extends Error {
  readonly reason: ShardCacheErrorReason;
  constructor(reason: ShardCacheErrorReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ShardCacheError';
    this.reason = reason;
  }
}
