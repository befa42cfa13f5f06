import { setNewest } from '../../base/newest.ts';
import { newTextExperience } from './text-drafter.ts';
import { TokenIndex } from './token-index.ts';

/** Of one scope: 0.8 MB. */
const MAX_SCOPE_TOKENS = 2 ** 16;
/** An answer's last tokens beyond these are left out, so that one answer leaves room for others. */
const MAX_ANSWER_TOKENS = 8192;
/** The prompt's last tokens are kept with an answer, so that the beginning of the next one is found. */
const PROMPT_TOKENS = 16;
/** Of all scopes. */
const MAX_BYTES = 32 * 2 ** 20;
const MAX_SCOPES = 1024;
/** What a scope takes beside its index, roughly. */
const SCOPE_BYTES = 1024;

/** The latest answers of one scope, and how often drafts from texts were right in it. */
export class ScopeAnswers {
  readonly index = new TokenIndex(MAX_SCOPE_TOKENS);
  readonly experience = newTextExperience();
  readonly #onGrowth: () => void;

  constructor(onGrowth: () => void) {
    this.#onGrowth = onGrowth;
  }

  get bytes(): number {
    return this.index.bytes + SCOPE_BYTES;
  }

  /** Adds an answer that has ended. `ids` are prompt and answer. */
  add(ids: readonly number[], promptTokens: number): void {
    if (ids.length <= promptTokens) return;
    const from = Math.max(0, promptTokens - PROMPT_TOKENS);
    this.index.append(ids, from, Math.min(ids.length, promptTokens + MAX_ANSWER_TOKENS));
    this.index.endText();
    this.#onGrowth();
  }
}

/**
 * The latest answers of each scope, of which drafts are made for the scope's own requests only: how soon an answer comes tells
 * whether something like it was answered before (`cacheScopeOf`). The scopes that were used least recently make room for others.
 */
export class RecentAnswers {
  readonly #maxBytes: number;
  /** By name, the most recently used last. */
  readonly #scopes = new Map<string, ScopeAnswers>();

  constructor(maxBytes: number = MAX_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** Of all scopes. */
  get bytes(): number {
    let bytes = 0;
    for (const scope of this.#scopes.values()) bytes += scope.bytes;
    return bytes;
  }

  /** The answers of a scope, which counts as used now. A scope that is dropped meanwhile keeps none. */
  of(name: string): ScopeAnswers {
    const scope = this.#scopes.get(name) ?? new ScopeAnswers(() => this.#makeRoom());
    setNewest(this.#scopes, name, scope, MAX_SCOPES);
    this.#makeRoom();
    return scope;
  }

  /** Drops the scopes that are not to be kept. */
  keepOnly(isKept: (name: string) => boolean): void {
    for (const name of this.#scopes.keys()) if (!isKept(name)) this.#scopes.delete(name);
  }

  #makeRoom(): void {
    let bytes = this.bytes;
    for (const [name, scope] of this.#scopes) {
      if (bytes <= this.#maxBytes) return;
      this.#scopes.delete(name);
      bytes -= scope.bytes;
    }
  }
}
