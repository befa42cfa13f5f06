import { setTimeout as delay } from 'node:timers/promises';
import {
  GenerationError,
  type GeneratedToken,
  type GenerationEvent,
  type GenerationRequest,
  type SpeculationUsage,
  type GenerationService,
} from '../../scheduler/generation.ts';

export interface FakeScript {
  /** The answer's token ids, cut at maxTokens. */
  ids: readonly number[];
  /** The token that ends the answer. */
  stopTokenId?: number;
  /** Of every token; by default they fall. */
  logprob?: number;
  /** Waited before every token. */
  tokenDelayMs?: number;
  /** Of the whole answer, told with every event. */
  speculation?: SpeculationUsage;
  /** Thrown instead of the token with this index. */
  failAt?: { index: number; error: Error };
}

export interface FakeGenerationOptions {
  script: (request: GenerationRequest) => FakeScript;
  maxContext?: number;
  /** Generations at a time; the others wait. */
  slots?: number;
  queueLimit?: number;
}

/** An engine that follows a script, keeps the contract, and counts what it is holding. */
export class FakeGeneration implements GenerationService {
  readonly modelId = 'fake-model';
  readonly maxContext: number;
  readonly submitted: GenerationRequest[] = [];
  /** Submitted and neither finished nor cancelled. */
  live = 0;
  cancelled = 0;
  /** Set to refuse all new work. */
  refusal: GenerationError | undefined;
  readonly #options: FakeGenerationOptions;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(options: FakeGenerationOptions) {
    this.#options = options;
    this.maxContext = options.maxContext ?? 4096;
  }

  maxContextUnder(): number {
    return this.maxContext;
  }

  submit(request: GenerationRequest): AsyncIterable<GenerationEvent> {
    if (this.refusal) throw this.refusal;
    const { slots = 64, queueLimit = 256 } = this.#options;
    if (this.live >= slots + queueLimit) throw new GenerationError('queue-full', 'the queue is full', 2.4);
    this.submitted.push(request);
    this.live++;
    let freed = false;
    const free = () => {
      if (freed) return false;
      freed = true;
      this.live--;
      return true;
    };
    const onAbort = () => {
      if (free()) this.cancelled++;
    };
    if (request.signal.aborted) onAbort();
    else request.signal.addEventListener('abort', onAbort, { once: true });
    return this.#generate(request, free, slots);
  }

  async *#generate(request: GenerationRequest, free: () => boolean, slots: number): AsyncGenerator<GenerationEvent> {
    try {
      await this.#acquire(slots, request.signal);
      try {
        yield* this.#follow(request);
      } finally {
        this.#running--;
        this.#waiting.shift()?.();
      }
    } finally {
      free();
    }
  }

  async *#follow(request: GenerationRequest): AsyncGenerator<GenerationEvent> {
    const { ids, tokenDelayMs = 0, failAt, speculation, stopTokenId, logprob } = this.#options.script(request);
    if (request.promptLogprobs) {
      const tokens = request.promptIds.map((tokenId, index) => ({
        tokenId,
        ...(index > 0 && {
          logprob: -index / 100,
          topLogprobs: topOf(tokenId, request.promptTopLogprobs ?? request.topLogprobs ?? 0),
        }),
      }));
      yield { type: 'prompt-logprobs', tokens };
    }
    for (const [index, tokenId] of ids.slice(0, request.maxTokens).entries()) {
      if (tokenDelayMs > 0) await delay(tokenDelayMs, undefined, { signal: request.signal }).catch(() => {});
      if (request.signal.aborted) throw new GenerationError('cancelled', 'cancelled');
      if (failAt?.index === index) throw failAt.error;
      yield {
        type: 'token',
        token: {
          ...token(tokenId, index, request),
          ...(logprob !== undefined && { logprob }),
          ...(speculation && { speculation }),
        },
      };
    }
    const reason = ids.length < request.maxTokens ? 'stop' : 'length';
    yield {
      type: 'finish',
      reason,
      ...(reason === 'stop' && stopTokenId !== undefined && { stopTokenId }),
      ...(speculation && { speculation }),
    };
  }

  async #acquire(slots: number, signal: AbortSignal): Promise<void> {
    while (this.#running >= slots) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
      if (signal.aborted) throw new GenerationError('cancelled', 'cancelled');
    }
    this.#running++;
  }
}

function token(tokenId: number, index: number, request: GenerationRequest): GeneratedToken {
  return {
    tokenId,
    ...(request.topLogprobs === undefined
      ? {}
      : { logprob: -0.5 - index, topLogprobs: topOf(tokenId, request.topLogprobs) }),
    ...(request.trace
      ? {
          trace: [
            { layer: 1, lapMs: 2.5, experts: [{ expert: index % 4, weight: 1, peerId: index % 2 ? 'peer-a' : null }] },
          ],
        }
      : {}),
  };
}

/** The chosen token first, then its successors. */
function topOf(tokenId: number, count: number): { tokenId: number; logprob: number }[] {
  return Array.from({ length: count }, (_, rank) => ({ tokenId: (tokenId + rank) % 256, logprob: -0.5 - rank }));
}
