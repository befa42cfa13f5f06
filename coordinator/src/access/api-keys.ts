import type { Access } from './access.ts';
import { type ApiKey, fingerprint } from './access-file.ts';
import { findByToken } from './token.ts';
import { type Clock, TokenBucket } from '../base/token-bucket.ts';

const MINUTE_MS = 60_000;
/** When a running answer will end is not known. */
const CONCURRENCY_RETRY_MS = 1_000;

export type RateLimitReason = 'requests' | 'tokens' | 'concurrency';

/** A key is over one of its limits. The message is for the developer; `retryAfterS` is undefined if waiting does not help. */
export class RateLimitError extends Error {
  readonly reason: RateLimitReason;
  readonly retryAfterS: number | undefined;
  constructor(reason: RateLimitReason, message: string, retryAfterMs?: number) {
    super(message);
    this.name = 'RateLimitError';
    this.reason = reason;
    this.retryAfterS = retryAfterMs === undefined ? undefined : Math.max(1, Math.ceil(retryAfterMs / 1000));
  }
}

/** The answers of one request while they are being generated. */
export interface AnswerHold {
  /** Counts one generated token. */
  onToken(): void;
  /** May be called twice. */
  release(): void;
}

/** What one key has used of its limits, and in total since the coordinator started. */
export class KeyUse {
  readonly key: ApiKey;
  readonly #requests: TokenBucket | undefined;
  readonly #tokens: TokenBucket | undefined;
  #answers = 0;
  requests = 0;
  refusals = 0;
  promptTokens = 0;
  completionTokens = 0;

  constructor(key: ApiKey, clock?: Clock) {
    this.key = key;
    const { requestsPerMinute, tokensPerMinute } = key;
    if (requestsPerMinute !== undefined) this.#requests = new TokenBucket(requestsPerMinute, MINUTE_MS, clock);
    if (tokensPerMinute !== undefined) this.#tokens = new TokenBucket(tokensPerMinute, MINUTE_MS, clock);
  }

  /** Counts a request. Throws a RateLimitError, also while earlier requests have overdrawn the token limit. */
  startRequest(): void {
    const waitMs = this.#requests?.take() ?? 0;
    if (waitMs > 0) throw this.#refuse('requests', `${this.key.requestsPerMinute} requests per minute`, waitMs);
    const tokensMs = this.#tokens?.msUntil(1) ?? 0;
    if (tokensMs > 0) throw this.#refuse('tokens', `${this.key.tokensPerMinute} tokens per minute`, tokensMs);
    this.requests++;
  }

  /**
   * Takes the prompt's tokens from the limit, and a place for each answer. Generated tokens are taken as they come and may
   * overdraw the limit, which later requests wait for. Throws a RateLimitError.
   */
  startAnswers(answers: number, promptTokens: number): AnswerHold {
    const { maxConcurrent = Number.POSITIVE_INFINITY, tokensPerMinute } = this.key;
    if (answers > maxConcurrent) {
      this.refusals++;
      const message = `This key allows ${maxConcurrent} concurrent answers; ask for fewer in one request.`;
      throw new RateLimitError('concurrency', message);
    }
    if (this.#answers + answers > maxConcurrent)
      throw this.#refuse('concurrency', `${maxConcurrent} concurrent answers`, CONCURRENCY_RETRY_MS);
    const waitMs = this.#tokens?.msUntil(promptTokens) ?? 0;
    if (waitMs > 0) throw this.#refuse('tokens', `${tokensPerMinute} tokens per minute`, waitMs);
    this.#tokens?.debit(promptTokens);
    this.promptTokens += promptTokens;
    this.#answers += answers;
    let held = true;
    return {
      onToken: () => {
        this.#tokens?.debit(1);
        this.completionTokens++;
      },
      release: () => {
        if (held) this.#answers -= answers;
        held = false;
      },
    };
  }

  /** OpenAI's `x-ratelimit-*` headers, for the limits that the key has. */
  headers(): Record<string, string> {
    return { ...describe('requests', this.#requests), ...describe('tokens', this.#tokens) };
  }

  #refuse(reason: RateLimitReason, limit: string, waitMs: number): RateLimitError {
    this.refusals++;
    const again = Math.max(1, Math.ceil(waitMs / 1000));
    return new RateLimitError(reason, `Rate limit reached: this key allows ${limit}. Try again in ${again} s.`, waitMs);
  }
}

/** The API keys and what each has used. */
export class ApiKeys {
  readonly #access: Access;
  readonly #clock: Clock | undefined;
  #uses: readonly KeyUse[] = [];

  constructor(access: Access, clock?: Clock) {
    this.#access = access;
    this.#clock = clock;
    this.#refresh();
    access.events.on('change', () => this.#refresh());
  }

  /** Whether the API requires a key at all. */
  get required(): boolean {
    return this.#access.policy.apiKeys !== undefined;
  }

  get uses(): readonly KeyUse[] {
    return this.#uses;
  }

  /** The key with this token. A missing or unknown one is counted as a refusal. */
  find(token: string | undefined): KeyUse | undefined {
    const key = token === undefined ? undefined : findByToken(this.#access.policy.apiKeys ?? [], token);
    const use = key && this.#uses.find((other) => other.key.name === key.name);
    if (!use) this.#access.refusals['api-key']++;
    return use;
  }

  /** An unchanged key keeps its usage; a key with other limits or another token starts anew. */
  #refresh(): void {
    const before = this.#uses;
    this.#uses = (this.#access.policy.apiKeys ?? []).map((key) => {
      return before.find((use) => fingerprint(use.key) === fingerprint(key)) ?? new KeyUse(key, this.#clock);
    });
  }
}

function describe(what: 'requests' | 'tokens', bucket: TokenBucket | undefined): Record<string, string> {
  if (!bucket) return {};
  return {
    [`x-ratelimit-limit-${what}`]: String(bucket.capacity),
    [`x-ratelimit-remaining-${what}`]: String(Math.max(0, Math.floor(bucket.level))),
    [`x-ratelimit-reset-${what}`]: formatReset(bucket.msUntilFull),
  };
}

/** OpenAI's format: `17ms`, `1.5s`, `6m0s`. */
export function formatReset(ms: number): string {
  const rounded = Math.ceil(ms);
  if (rounded < 1000) return `${rounded}ms`;
  const seconds = Math.round(rounded / 100) / 10;
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${Math.round(seconds % 60)}s`;
}
