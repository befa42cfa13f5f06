import type { Access } from './access.ts';
import { type Budget, BUDGETS, type BudgetName, DayBudget, type MakeBudget, ownBudgets } from './budgets.ts';
import type { ApiKey } from './policy.ts';
import { findByToken } from './token.ts';

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

/** What is added up for a key, day and model. */
export interface UsageCounts {
  requests?: number;
  /** Requests that a limit of the key refused. */
  refusals?: number;
  promptTokens?: number;
  completionTokens?: number;
}
/** Adds to what is written down; never waits. Without a model: that of the coordinator, as of requests whose body was not read. */
export type RecordUsage = (key: string, model: string | undefined, counts: UsageCounts) => void;

const LIMITS: Readonly<Record<BudgetName, string>> = {
  requestsPerMinute: 'requests per minute',
  tokensPerMinute: 'tokens per minute',
  tokensPerDay: 'tokens per day (UTC)',
};
const TOKEN_BUDGETS = ['tokensPerMinute', 'tokensPerDay'] as const;

/** Answers under way at other coordinators of the database. */
export interface AnswersElsewhere {
  of(key: string): number;
  /** Tells them of those here. */
  tell(key: string, answers: number): void;
}

export interface KeyUseOptions {
  elsewhere?: AnswersElsewhere;
  makeBudget?: MakeBudget;
  record?: RecordUsage;
}

/** What one key has used of its limits, and in total since the coordinator started. */
export class KeyUse {
  readonly #makeBudget: MakeBudget;
  readonly #record: RecordUsage;
  readonly #elsewhere: AnswersElsewhere | undefined;
  readonly #budgets = new Map<BudgetName, Budget>();
  #key: ApiKey;
  #answers = 0;
  requests = 0;
  refusals = 0;
  promptTokens = 0;
  completionTokens = 0;

  constructor(key: ApiKey, { makeBudget = ownBudgets(), record = () => {}, elsewhere }: KeyUseOptions = {}) {
    this.#elsewhere = elsewhere;
    this.#makeBudget = makeBudget;
    this.#record = record;
    this.#key = key;
    this.#setBudgets(undefined);
  }

  get key(): ApiKey {
    return this.#key;
  }

  /** Gives the key its present limits. A limit that is the same keeps what was used of it, and answers that run stay counted. */
  setKey(key: ApiKey): void {
    const before = this.#key;
    this.#key = key;
    this.#setBudgets(before);
  }

  #setBudgets(before: ApiKey | undefined): void {
    for (const name of BUDGETS) {
      const known = this.#budgets.get(name);
      if (this.#key[name] === undefined) this.#budgets.delete(name);
      else if (known === undefined || before?.[name] !== this.#key[name])
        this.#budgets.set(name, this.#makeBudget(name, this.#key, known));
    }
  }

  /** Counts a request. Throws a RateLimitError, also while earlier requests have overdrawn a limit of tokens. */
  startRequest(): void {
    // Asked first, so that a request that waits for tokens takes nothing.
    this.#refuseWithout('requestsPerMinute', 1, undefined);
    for (const name of TOKEN_BUDGETS) this.#refuseWithout(name, 1, undefined);
    this.#budgets.get('requestsPerMinute')?.debit(1);
    this.requests++;
  }

  /**
   * Takes the prompt's tokens from the limits, and a place for each answer. Generated tokens are taken as they come and may
   * overdraw the limits, which later requests wait for. Throws a RateLimitError.
   */
  startAnswers(answers: number, promptTokens: number, model?: string): AnswerHold {
    const { maxConcurrent = Number.POSITIVE_INFINITY } = this.#key;
    if (answers > maxConcurrent) {
      this.#countRefusal(model);
      const message = `This key allows ${maxConcurrent} concurrent answers; ask for fewer in one request.`;
      throw new RateLimitError('concurrency', message);
    }
    const elsewhere = this.#elsewhere?.of(this.#key.name) ?? 0;
    if (this.#answers + elsewhere + answers > maxConcurrent)
      throw this.#refuse('concurrency', `${maxConcurrent} concurrent answers`, CONCURRENCY_RETRY_MS, model);
    for (const name of TOKEN_BUDGETS) this.#refuseWithout(name, promptTokens, model);
    this.#debitTokens(promptTokens);
    this.promptTokens += promptTokens;
    this.#addAnswers(answers);
    const { name } = this.#key;
    this.#record(name, model, { requests: 1, promptTokens });
    let held = true;
    return {
      onToken: () => {
        this.#debitTokens(1);
        this.completionTokens++;
        this.#record(name, model, { completionTokens: 1 });
      },
      release: () => {
        if (held) this.#addAnswers(-answers);
        held = false;
      },
    };
  }

  /** So many tokens were used today over all coordinators, as far as it is written. */
  usedToday(tokens: number): void {
    const day = this.#budgets.get('tokensPerDay');
    if (day instanceof DayBudget) day.usedAtLeast(tokens);
  }

  /** OpenAI's `x-ratelimit-*` headers, for the limits that the key has; of tokens, for the one of which the least is left. */
  headers(): Record<string, string> {
    const ofTokens = TOKEN_BUDGETS.flatMap((name) => this.#budgets.get(name) ?? []);
    const tightest = ofTokens.toSorted((a, b) => a.level - b.level)[0];
    return { ...describe('requests', this.#budgets.get('requestsPerMinute')), ...describe('tokens', tightest) };
  }

  #addAnswers(answers: number): void {
    this.#answers += answers;
    this.#elsewhere?.tell(this.#key.name, this.#answers);
  }

  #debitTokens(tokens: number): void {
    for (const name of TOKEN_BUDGETS) this.#budgets.get(name)?.debit(tokens);
  }

  #refuseWithout(name: BudgetName, cost: number, model: string | undefined): void {
    const waitMs = this.#budgets.get(name)?.msUntil(cost) ?? 0;
    const reason = name === 'requestsPerMinute' ? 'requests' : 'tokens';
    if (waitMs > 0) throw this.#refuse(reason, `${this.#key[name]} ${LIMITS[name]}`, waitMs, model);
  }

  #refuse(reason: RateLimitReason, limit: string, waitMs: number, model: string | undefined): RateLimitError {
    this.#countRefusal(model);
    const again = Math.max(1, Math.ceil(waitMs / 1000));
    return new RateLimitError(reason, `Rate limit reached: this key allows ${limit}. Try again in ${again} s.`, waitMs);
  }

  #countRefusal(model: string | undefined): void {
    this.refusals++;
    this.#record(this.#key.name, model, { refusals: 1 });
  }
}

/** Stands for all callers where no key is required. */
const ANYONE: ApiKey = { name: '', digest: Buffer.alloc(32) };

/** The API keys and what each has used. */
export class ApiKeys {
  readonly #access: Access;
  readonly #options: KeyUseOptions;
  #uses: readonly KeyUse[] = [];
  /** Of requests without a key, where none is required. */
  readonly anyone: KeyUse;

  constructor(access: Access, options: KeyUseOptions = {}) {
    this.#access = access;
    this.#options = options;
    this.anyone = new KeyUse(ANYONE, options);
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

  /** A key with the same token keeps what it has used, and one with another token starts anew. */
  #refresh(): void {
    const before = this.#uses;
    this.#uses = (this.#access.policy.apiKeys ?? []).map((key) => {
      const known = before.find((use) => use.key.name === key.name && use.key.digest.equals(key.digest));
      known?.setKey(key);
      return known ?? new KeyUse(key, this.#options);
    });
  }
}

function describe(what: 'requests' | 'tokens', budget: Budget | undefined): Record<string, string> {
  if (!budget) return {};
  return {
    [`x-ratelimit-limit-${what}`]: String(budget.capacity),
    [`x-ratelimit-remaining-${what}`]: String(Math.max(0, Math.floor(budget.level))),
    [`x-ratelimit-reset-${what}`]: formatReset(budget.msUntilFull),
  };
}

/** OpenAI's format: `17ms`, `1.5s`, `6m0s`. */
export function formatReset(ms: number): string {
  const rounded = Math.ceil(ms);
  if (rounded < 1000) return `${rounded}ms`;
  const seconds = Math.round(rounded / 100) / 10;
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${Math.round(seconds % 60)}s`;
}
