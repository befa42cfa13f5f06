import type { Access } from './access.ts';
import type { ApiKey } from './access-file.ts';
import { findByToken } from './token.ts';
import { type Clock, TokenBucket } from './token-bucket.ts';

const MINUTE_MS = 60_000;
/** When an answer that is being written will end is not known. */
const CONCURRENCY_RETRY_MS = 1_000;

export type RateLimitReason = 'requests' | 'tokens' | 'concurrency';

/** A key is over one of its limits. The message is for the developer; `retryAfterS` is undefined where waiting does not help. */
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

/** The answers of one request, as long as they are being written. */
export interface AnswerHold {
  /** One more token was generated. */
  onToken(): void;
  /** May be called twice. */
  release(): void;
}

/** What one key has used: of its limits, and in all since the coordinator started. */
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

  /** Counts a request for answers. Throws a RateLimitError, also while tokens used before are not made up for. */
  startRequest(): void {
    const waitMs = this.#requests?.take() ?? 0;
    if (waitMs > 0) throw this.#refuse('requests', `${this.key.requestsPerMinute} requests a minute`, waitMs);
    const tokensMs = this.#tokens?.msUntil(1) ?? 0;
    if (tokensMs > 0) throw this.#refuse('tokens', `${this.key.tokensPerMinute} tokens a minute`, tokensMs);
    this.requests++;
  }

  /**
   * Takes the prompt's tokens from the limit, and a place for each answer. Generated tokens are taken as they come; what
   * goes beyond the limit, the next request waits for. Throws a RateLimitError.
   */
  startAnswers(answers: number, promptTokens: number): AnswerHold {
    const { maxConcurrent = Number.POSITIVE_INFINITY, tokensPerMinute } = this.key;
    if (answers > maxConcurrent) {
      this.refusals++;
      throw new RateLimitError(
        'concurrency',
        `This key has ${maxConcurrent} answers at a time; ask for fewer in one request.`,
      );
    }
    if (this.#answers + answers > maxConcurrent) {
      throw this.#refuse('concurrency', `${maxConcurrent} answers at a time`, CONCURRENCY_RETRY_MS);
    }
    const waitMs = this.#tokens?.msUntil(promptTokens) ?? 0;
    if (waitMs > 0) throw this.#refuse('tokens', `${tokensPerMinute} tokens a minute`, waitMs);
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

  /** OpenAI's `x-ratelimit-*`, of those limits that the key has. */
  headers(): Record<string, string> {
    return { ...describe('requests', this.#requests), ...describe('tokens', this.#tokens) };
  }

  #refuse(reason: RateLimitReason, limit: string, waitMs: number): RateLimitError {
    this.refusals++;
    const again = Math.max(1, Math.ceil(waitMs / 1000));
    return new RateLimitError(reason, `Rate limit reached: this key has ${limit}. Try again in ${again} s.`, waitMs);
  }
}

/** The API's keys, and what each has used. */
export class ApiKeys {
  readonly #access: Access;
  readonly #clock: Clock | undefined;
  #uses: readonly KeyUse[] = [];

  constructor(access: Access, clock?: Clock) {
    this.#access = access;
    this.#clock = clock;
    this.#refresh();
    access.onChange(() => this.#refresh());
  }

  /** Whether the API asks for a key at all. */
  get required(): boolean {
    return this.#access.policy.apiKeys !== undefined;
  }

  get uses(): readonly KeyUse[] {
    return this.#uses;
  }

  /** Whose key this is; one that is not known, or missing, is counted. */
  find(token: string | undefined): KeyUse | undefined {
    const use = token === undefined ? undefined : this.#find(token);
    if (!use) this.#access.refusals['api-key']++;
    return use;
  }

  #find(token: string): KeyUse | undefined {
    const key = findByToken(this.#access.policy.apiKeys ?? [], token);
    return key && this.#uses.find((use) => use.key.name === key.name);
  }

  /** A key that stays as it was keeps what it has used; one with other limits or another token begins anew. */
  #refresh(): void {
    const before = this.#uses;
    this.#uses = (this.#access.policy.apiKeys ?? []).map((key) => {
      return before.find((use) => sameKey(use.key, key)) ?? new KeyUse(key, this.#clock);
    });
  }
}

function sameKey(a: ApiKey, b: ApiKey): boolean {
  return (
    a.name === b.name &&
    a.digest.equals(b.digest) &&
    a.requestsPerMinute === b.requestsPerMinute &&
    a.tokensPerMinute === b.tokensPerMinute &&
    a.maxConcurrent === b.maxConcurrent
  );
}

function describe(what: 'requests' | 'tokens', bucket: TokenBucket | undefined): Record<string, string> {
  if (!bucket) return {};
  return {
    [`x-ratelimit-limit-${what}`]: String(bucket.capacity),
    [`x-ratelimit-remaining-${what}`]: String(Math.max(0, Math.floor(bucket.level))),
    [`x-ratelimit-reset-${what}`]: formatReset(bucket.msUntilFull),
  };
}

/** As OpenAI writes it: `17ms`, `1.5s`, `6m0s`. */
export function formatReset(ms: number): string {
  const rounded = Math.ceil(ms);
  if (rounded < 1000) return `${rounded}ms`;
  const seconds = Math.round(rounded / 100) / 10;
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${Math.round(seconds % 60)}s`;
}
