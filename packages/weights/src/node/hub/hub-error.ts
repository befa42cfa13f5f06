export type HubErrorReason =
  | 'bad-name'
  | 'bad-settings'
  | 'no-model'
  | 'no-revision'
  | 'no-file'
  | 'gated'
  | 'bad-token'
  /** It is not in the cache, and nothing may be fetched. */
  | 'offline'
  | 'no-network'
  /** Too many requests, or a fault of the hub's that trying again has not ended. */
  | 'unavailable'
  | 'bad-answer'
  | 'wrong-hash';

/** An error in fetching a model from a hub. The message names the model or the file, and a remedy. */
export class HubError extends Error {
  readonly reason: HubErrorReason;
  constructor(reason: HubErrorReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'HubError';
    this.reason = reason;
  }
}

/** What may be over after a while: the request is made again. `afterMs`: not before the hub has said. */
export class PassingError extends Error {
  readonly afterMs: number | undefined;
  /** What it becomes when the tries are used up. */
  readonly reason: 'no-network' | 'unavailable';
  constructor(reason: 'no-network' | 'unavailable', message: string, options?: ErrorOptions & { afterMs?: number }) {
    super(message, options);
    this.name = 'PassingError';
    this.reason = reason;
    this.afterMs = options?.afterMs;
  }
}

const MAX_QUOTED_CHARS = 300;

/** A stranger's words for a line of ours: without control characters, and short. */
export function quoted(text: string): string {
  const plain = text.replace(/[\p{C}\s]+/gu, ' ').trim();
  return plain.length > MAX_QUOTED_CHARS ? `${plain.slice(0, MAX_QUOTED_CHARS)}…` : plain;
}
