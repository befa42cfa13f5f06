/** What the HTTP edge asks of the engine, in token ids: text, stop strings and JSON stay on its side. */
export interface GenerationRequest {
  /** For logs, the console and traces. */
  id: string;
  promptIds: readonly number[];
  maxTokens: number;
  /** 0 is greedy. */
  temperature: number;
  topP: number;
  /** Of so many of the most likely tokens alone; 0 or undefined: of all. */
  topK?: number;
  /** Any integer; the same seed and request give the same tokens. */
  seed: number;
  /** How many alternatives to report a position (0 to 20); undefined: no logprobs at all. */
  topLogprobs?: number;
  /** Also report the prompt's own logprobs (OpenAI's `echo` with `logprobs`). */
  promptLogprobs?: boolean;
  /** Report which experts and peers served each token. */
  trace?: boolean;
  /**
   * Tabs that a token may use in a layer (device-limited routing, DeepSeek-V2 §2.2.2); 0 lifts the server's own limit.
   * Undefined: the server's, which by default is none.
   */
  deviceLimit?: number;
  /** Whose request it is: clients share the engine fairly. Requests without one are one client's. */
  client?: string;
  /** Requests of the same scope may start from what others of it have computed of the same beginning. */
  cacheScope?: string;
  /** false: one token a pass, whatever the server does. Answers are the same either way. */
  speculate?: boolean;
  signal: AbortSignal;
}

export interface TokenLogprob {
  tokenId: number;
  logprob: number;
}

/** Who served one token in one MoE layer. */
export interface LapTrace {
  layer: number;
  lapMs: number;
  /** A layer that the coordinator holds itself: this was no lap. */
  resident?: boolean;
  /** peerId is null where the coordinator computed the expert itself. */
  experts: { expert: number; weight: number; peerId: string | null }[];
}

export interface GeneratedToken {
  tokenId: number;
  logprob?: number;
  topLogprobs?: TokenLogprob[];
  trace?: LapTrace[];
  /** So far in this answer; with a device limit. */
  deviceLimit?: DeviceLimitUsage;
  /** So far in this answer, where tokens were drafted for it. */
  speculation?: SpeculationUsage;
}

/** What drafts did for one answer. */
export interface SpeculationUsage {
  /** Tokens that were drafted, and those of them that the model chose as well. */
  drafted: number;
  accepted: number;
  /** Passes that gave the answer tokens. */
  passes: number;
  /** Of those passes and of the calls that drafted for it, each that tabs took part in by the plan once. */
  laps: number;
}

export type GenerationEvent =
  | { type: 'prompt-logprobs'; tokens: { tokenId: number; logprob: number | null; topLogprobs: TokenLogprob[] }[] }
  | { type: 'token'; token: GeneratedToken }
  /** Always the last event. `stop`: an end-of-text token (not itself reported as a token). */
  | { type: 'finish'; reason: 'stop' | 'length'; deviceLimit?: DeviceLimitUsage; speculation?: SpeculationUsage };

/** What a device limit did to one answer. */
export interface DeviceLimitUsage {
  maxPeers: number;
  /** Tokens (of prompt and answer) × MoE layers that were routed under the limit, and those whose experts it changed. */
  tokenLayers: number;
  changed: number;
}

/**
 * `submit` throws an GenerationError at once when the request cannot be taken; iteration throws one when it ends early.
 * Ending the iteration (or aborting `signal`) cancels the request and frees its place.
 */
export interface GenerationService {
  readonly modelId: string;
  readonly maxContext: number;
  submit(request: GenerationRequest): AsyncIterable<GenerationEvent>;
}

/**
 * No place now: `share-full`, the client has as many waiting as one may; `too-late`, it would wait for longer than a request
 * may take.
 */
export type Refusal = 'queue-full' | 'share-full' | 'too-late';

export type GenerationErrorReason = Refusal | 'context-length' | 'draining' | 'cancelled' | 'timeout' | 'internal';

export class GenerationError extends Error {
  readonly reason: GenerationErrorReason;
  /** Seconds after which a retry makes sense; with a Refusal and with `draining`. */
  readonly retryAfterS: number | undefined;
  constructor(reason: GenerationErrorReason, message: string, retryAfterS?: number) {
    super(message);
    this.name = 'GenerationError';
    this.reason = reason;
    this.retryAfterS = retryAfterS;
  }
}
