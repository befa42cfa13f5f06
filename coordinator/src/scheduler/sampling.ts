import { createRng, type LogitChanges, type SamplingParams } from '@shoal/model';
import type { GenerationRequest } from './generation.ts';
import { Draws } from './speculation/draws.ts';
import { TokenCounts } from './token-counts.ts';

export interface SamplingModel {
  /** Tokens that end an answer. */
  eosTokenIds: readonly number[];
  vocabSize: number;
}

type Biases = ReadonlyMap<number, number> | undefined;

/** How the tokens of one answer are drawn: by its request's parameters, its own random numbers and the tokens that it has. */
export class Sampling {
  /** Tokens that end the answer when they are drawn. */
  readonly ends: ReadonlySet<number>;
  readonly #request: GenerationRequest;
  /** Tokens of the answer so far. */
  #taken = 0;
  readonly #draws: Draws;
  /** Present if repeated tokens are penalised, from the first draw on. */
  #counts: TokenCounts | undefined;
  readonly #isPenalised: boolean;
  /** Ends that are not drawn however long the answer is. */
  readonly #neverDrawn: ReadonlySet<number>;
  readonly #early: Biases;
  readonly #late: Biases;

  constructor(request: GenerationRequest, { eosTokenIds, vocabSize }: SamplingModel) {
    this.#request = request;
    this.#draws = new Draws(createRng(request.seed));
    const { stopTokenIds = [], ignoreEos, repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0 } = request;
    this.ends = new Set([...eosTokenIds, ...stopTokenIds].filter((tokenId) => tokenId < vocabSize));
    const stops = new Set(stopTokenIds);
    this.#neverDrawn = new Set(ignoreEos ? [...this.ends].filter((tokenId) => !stops.has(tokenId)) : []);
    this.#isPenalised = repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0;
    const biases = new Map([...(request.logitBias ?? [])].filter(([tokenId]) => tokenId < vocabSize));
    // A constraint's masks leave the banned ends out, since only they know whether the answer can go on.
    this.#early = withBans(biases, request.constraint ? [] : this.ends);
    this.#late = withBans(biases, request.constraint ? [] : this.#neverDrawn);
  }

  /**
   * How to draw the token after `drafts`, which would follow the answer: with the random number that it will have, and penalties
   * that count the drafts.
   */
  params(drafts: readonly number[]): SamplingParams {
    const { temperature, topP, topK, minP } = this.#request;
    const uniform = temperature > 0 ? this.#draws.peek(drafts.length) : 0;
    return { temperature, topP, topK, minP, uniform, changes: this.#changes(drafts) };
  }

  /** Ends that may not be drawn as the token after so many drafts. */
  bannedEnds(numDrafts: number): ReadonlySet<number> {
    return this.#isEarly(numDrafts) ? this.ends : this.#neverDrawn;
  }

  /** Takes note that a token was drawn: the next one has the next random number. */
  drawn(): void {
    if (this.#request.temperature > 0) this.#draws.next();
  }

  /** Takes note that the answer goes on with a token. */
  add(tokenId: number): void {
    this.#taken++;
    this.#counts?.add(tokenId);
  }

  #isEarly(numDrafts: number): boolean {
    return this.#taken + numDrafts < (this.#request.minTokens ?? 0);
  }

  #changes(drafts: readonly number[]): LogitChanges | undefined {
    const biases = this.#isEarly(drafts.length) ? this.#early : this.#late;
    if (!this.#isPenalised) return biases && { biases };
    const {
      repetitionPenalty = 1,
      frequencyPenalty = 0,
      presencePenalty = 0,
      promptIds,
      sourceLength = 0,
    } = this.#request;
    // Only the repetition penalty is for tokens of the prompt too, but not for those of a source, as in transformers.
    this.#counts ??= new TokenCounts(repetitionPenalty === 1 ? [] : promptIds.slice(sourceLength));
    const seen = this.#counts.with(drafts);
    const [repetition, frequency, presence] = [repetitionPenalty, frequencyPenalty, presencePenalty];
    return { biases, penalties: { repetition, frequency, presence, seen } };
  }
}

function withBans(biases: ReadonlyMap<number, number>, banned: Iterable<number>): Biases {
  const all = new Map(biases);
  for (const tokenId of banned) all.set(tokenId, Number.NEGATIVE_INFINITY);
  return all.size > 0 ? all : undefined;
}
