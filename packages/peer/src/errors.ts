export type ShardErrorReason = 'network' | 'http' | 'stalled' | 'slow' | 'size' | 'hash' | 'cancelled';

/** A shard could not be fetched. `reason` says why; the message names the shard. */
export class ShardError extends Error {
  readonly reason: ShardErrorReason;
  /** Whether a retry may help. It won't if, for example, the coordinator doesn't have the shard. */
  readonly retryable: boolean;
  /** The server's `Retry-After`, if it sent one. */
  readonly retryAfterMs: number | undefined;
  /** The request hit a rate limit: not a failure, and waiting cures it. */
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

/** The browser's storage could not keep a shard. Never fatal, since the weights stay on the GPU for this visit. */
export class ShardCacheError extends Error {
  readonly reason: ShardCacheErrorReason;
  constructor(reason: ShardCacheErrorReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ShardCacheError';
    this.reason = reason;
  }
}
