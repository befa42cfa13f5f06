import { createRng, type SequenceCache } from '@shoal/model';
import {
  type DeviceLimitUsage,
  GenerationError,
  type GenerationEvent,
  type GenerationRequest,
  type SpeculationUsage,
} from './generation.ts';
import type { PagedSequence } from './kv/kv-pages.ts';
import { Draws } from './speculation/draws.ts';
import type { StreamSpeculation } from './speculation/stream.ts';

/** One request on its way: its tokens, its KV cache, and the events that its reader has not taken yet. */
export class Sequence {
  readonly request: GenerationRequest;
  /** On the engine's clock, as its other times. */
  readonly createdMs: number;
  /** Prompt, then what was generated. */
  readonly ids: number[];
  /** The random numbers that its tokens are drawn with. */
  readonly draws: Draws;
  /** Present when its rows are routed under a device limit. */
  readonly deviceLimit: DeviceLimitUsage | undefined;
  /** Present while it has a place in the batch. */
  cache: SequenceCache | undefined;
  /** Its pages, where the KV cache is paged. */
  pages: PagedSequence | undefined;
  /** Present where tokens are drafted for it. */
  speculation: StreamSpeculation | undefined;
  /** Logprobs of the prompt's positions so far, if asked for. */
  promptLogprobs: Extract<GenerationEvent, { type: 'prompt-logprobs' }>['tokens'] = [];
  /** When it got its place in the batch, and when its last tokens were handed over. */
  admittedMs: number | undefined;
  lastTokensMs: number | undefined;
  /** Positions of its prompt that were computed before, for another. */
  reusedPositions = 0;
  /** KV positions of requests that were admitted before it though it was their senior, while it had no room. */
  passedByPositions = 0;
  finished = false;
  /** Of the pass that it is in; 0: it is in none. */
  rowsInPass = 0;
  /** Called once, when it ends; with the error if it did not end well. */
  onEnd: ((error?: GenerationError) => void) | undefined;

  // At most maxTokens + 2 events, so bounded by the request itself.
  readonly #events: GenerationEvent[] = [];
  #error: GenerationError | undefined;
  #wake: (() => void) | undefined;

  constructor(request: GenerationRequest, createdMs: number, serverDeviceLimit?: number) {
    this.request = request;
    this.createdMs = createdMs;
    this.ids = [...request.promptIds];
    this.draws = new Draws(createRng(request.seed));
    const maxPeers = request.deviceLimit ?? serverDeviceLimit ?? 0;
    this.deviceLimit = maxPeers > 0 ? { maxPeers, tokenLayers: 0, changed: 0 } : undefined;
  }

  get completionTokens(): number {
    return this.ids.length - this.request.promptIds.length;
  }

  get state(): 'queued' | 'prefill' | 'decode' {
    if (this.cache === undefined) return 'queued';
    return this.cache.length < this.request.promptIds.length ? 'prefill' : 'decode';
  }

  /** Whether a pass computes rows of it now. */
  get inPass(): boolean {
    return this.rowsInPass > 0;
  }

  /** Rows that are to be computed before its next token can be chosen, and those of drafts, which go with them. */
  get rowsAhead(): number {
    return this.ids.length - (this.cache?.length ?? 0) + (this.speculation?.drafts.length ?? 0);
  }

  /** What its reader is told of it so far, beside tokens. */
  details(): { deviceLimit?: DeviceLimitUsage; speculation?: SpeculationUsage } {
    return {
      ...(this.deviceLimit && { deviceLimit: { ...this.deviceLimit } }),
      ...(this.speculation && { speculation: { ...this.speculation.usage } }),
    };
  }

  emit(event: GenerationEvent): void {
    if (this.finished) return;
    this.#events.push(event);
    if (event.type === 'finish') this.#end();
    this.#wake?.();
  }

  fail(error: GenerationError): void {
    if (this.finished) return;
    this.#error = error;
    this.#end(error);
    this.#wake?.();
  }

  /** The events in order; throws the error that ended the sequence, after what came before it. */
  async *events(): AsyncGenerator<GenerationEvent, void> {
    try {
      for (;;) {
        const event = this.#events.shift();
        if (event !== undefined) {
          yield event;
          if (event.type === 'finish') return;
        } else if (this.#error) {
          throw this.#error;
        } else {
          await new Promise<void>((resolve) => (this.#wake = resolve));
        }
      }
    } finally {
      this.fail(new GenerationError('cancelled', 'The reader stopped reading.'));
    }
  }

  #end(error?: GenerationError): void {
    this.finished = true;
    this.onEnd?.(error);
  }
}
