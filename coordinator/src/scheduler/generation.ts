import type { TokenAnswer } from '@shoal/model';
import type { ServedAdapter } from '../adapters/served-adapter.ts';
import type { LapTrace } from '../laps/lap.ts';
import type { TokenConstraint } from './token-constraint.ts';

export type { LapTrace };

/** A request to the scheduler, in token ids: text, stop strings and JSON are the HTTP edge's. */
export interface GenerationRequest {
  /** For logs, the console and traces. */
  id: string;
  promptIds: readonly number[];
  /** Of an encoder–decoder model: how many tokens at the prompt's beginning are its source. The others begin the answer. */
  sourceLength?: number | undefined;
  maxTokens: number;
  /** 0 is greedy. */
  temperature: number;
  topP: number;
  /** Sample from this many of the most likely tokens; 0 or undefined: from all. */
  topK?: number;
  /** Drop tokens less likely than this share of the most likely one; 0 or undefined: none. */
  minP?: number;
  /** Subtracted from the logits of tokens that the answer has already: once, and once for each time. */
  presencePenalty?: number;
  frequencyPenalty?: number;
  /** Makes tokens of prompt and answer less likely (above 1) or more likely (CTRL, Keskar et al. 2019, §4.1). */
  repetitionPenalty?: number;
  /** Added to the logits of tokens. */
  logitBias?: ReadonlyMap<number, number> | undefined;
  /** Tokens that end the answer beside the model's end-of-text tokens. */
  stopTokenIds?: readonly number[] | undefined;
  /** true: the model's end-of-text tokens are never drawn. */
  ignoreEos?: boolean;
  /** No token that ends the answer is drawn before the answer has this many. */
  minTokens?: number;
  /** Decides which tokens may be drawn; ends with the request. */
  constraint?: TokenConstraint | undefined;
  /** Any integer; the same seed and request give the same tokens. */
  seed: number;
  /** Alternatives to report at each position (0 to 20); undefined: no log-probabilities at all. */
  topLogprobs?: number | undefined;
  /** Also report the log-probabilities of the prompt (OpenAI's `echo` with `logprobs`). */
  promptLogprobs?: boolean;
  /** Alternatives to report at each position of the prompt. */
  promptTopLogprobs?: number;
  /** Report which experts and peers served each token. */
  trace?: boolean;
  /**
   * Peers that a token may use in a layer (device-limited routing, DeepSeek-V2 §2.2.2); 0 lifts the server's own limit, and
   * undefined keeps it.
   */
  deviceLimit?: number | undefined;
  /** Clients share the scheduler fairly; requests without a client count as one client's. */
  client?: string | undefined;
  /** Only requests with the same scope share computed prefixes. */
  cacheScope?: string | undefined;
  /** A donor's, by which its requests have more turns than others' as long as it lasts. In tokens of answers. */
  credit?: { readonly left: number; spend(tokens: number): void } | undefined;
  /** What is added to the model's matrices; undefined: nothing. */
  adapter?: ServedAdapter | undefined;
  /** false: no drafts for this answer, which is the same either way. */
  speculate?: boolean | undefined;
  signal: AbortSignal;
}

/** The model's answer with what the scheduler adds to it. */
export interface GeneratedToken extends TokenAnswer {
  trace?: LapTrace[];
  /** So far in this answer; present under a device limit. */
  deviceLimit?: DeviceLimitUsage;
  /** So far in this answer; present if tokens may be drafted for it. */
  speculation?: SpeculationUsage;
}

/** What drafts did for one answer. */
export interface SpeculationUsage {
  /** Tokens that were drafted, and those that the model chose too. */
  drafted: number;
  accepted: number;
  /** Passes that gave the answer tokens. */
  passes: number;
  /** Laps of those passes, and of drafting calls whose experts are on tabs. */
  laps: number;
}

export type GenerationEvent =
  /** The first token has no logprob. */
  | { type: 'prompt-logprobs'; tokens: TokenAnswer[] }
  | { type: 'token'; token: GeneratedToken }
  /** Always the last event. `stop`: by the token `stopTokenId`, which is not itself reported as a token. */
  | {
      type: 'finish';
      reason: 'stop' | 'length';
      stopTokenId?: number;
      deviceLimit?: DeviceLimitUsage;
      speculation?: SpeculationUsage;
    };

/** What a device limit did to one answer. */
export interface DeviceLimitUsage {
  maxPeers: number;
  /** Tokens (of prompt and answer) × MoE layers routed under the limit, and those in which it changed the experts. */
  tokenLayers: number;
  changed: number;
}

/**
 * `submit` throws a GenerationError if the request cannot be taken; iteration throws one if the answer ends early. Ending the
 * iteration, or aborting `signal`, cancels the request and frees its place.
 */
export interface GenerationService {
  readonly modelId: string;
  readonly maxContext: number;
  /** The same of requests with an adapter: a mixture's sequences have two KV caches. */
  maxContextUnder(adapter: ServedAdapter | undefined): number;
  submit(request: GenerationRequest): AsyncIterable<GenerationEvent>;
}

/**
 * Why a request is rejected: the queue is full, the client has its share of the queue, or the wait would be longer than a
 * request may take.
 */
export type Refusal = 'queue-full' | 'share-full' | 'too-late';

/** Requests that a scheduler has rejected since its start. */
export function refusedBy({ refusals }: { readonly refusals: Readonly<Record<Refusal, number>> }): number {
  return Object.values(refusals).reduce((sum, count) => sum + count, 0);
}

export type GenerationErrorReason =
  | Refusal
  | 'context-length'
  /** The request's own constraint and biases leave no token to draw. */
  | 'nothing-allowed'
  /** The request's adapter was unloaded before it was submitted. */
  | 'adapter-gone'
  | 'draining'
  | 'cancelled'
  /** By an operator. */
  | 'stopped'
  | 'timeout'
  | 'internal';

/** `Retry-After` where no time has been measured, in seconds. */
export const DEFAULT_RETRY_S = 2;

export class GenerationError extends Error {
  readonly reason: GenerationErrorReason;
  /** Seconds after which a retry makes sense; present with a Refusal and with `draining`. */
  readonly retryAfterS: number | undefined;
  constructor(reason: GenerationErrorReason, message: string, retryAfterS?: number) {
    super(message);
    this.name = 'GenerationError';
    this.reason = reason;
    this.retryAfterS = retryAfterS;
  }
}
