import type { ForwardEngine, SequenceCache } from '@shoal/model';
import { EngineError, type GenerationRequest } from './contract.ts';
import { KvPages } from './kv-pages.ts';
import type { Sequence } from './sequence.ts';

export interface AdmissionOptions {
  forward: ForwardEngine;
  maxContext: number;
  /** Sequences decoded together. */
  maxBatch: number;
  /** Requests that may wait. */
  maxQueue: number;
  /** Of the drafter's KV cache, which lies in the same pages. */
  drafterBytesPerToken: number;
}

/** Who waits, who is decoded, and who has which part of the KV cache. */
export class Admission {
  readonly waiting: Sequence[] = [];
  readonly running: Sequence[] = [];
  readonly #options: AdmissionOptions;
  /** Caches of sequences that have ended. */
  readonly #retired: { sequence: Sequence; cache: SequenceCache }[] = [];
  /** Who has which page of the KV cache; undefined where it is not paged. */
  readonly #pages: KvPages | undefined;
  /** What drafting needs beside them included. */
  readonly #bytesPerPage: number;
  #prefixEpoch = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
    const budget = options.forward.lendPages();
    this.#pages = budget && new KvPages(budget);
    this.#bytesPerPage = budget ? budget.bytesPerPage + budget.pagePositions * options.drafterBytesPerToken : 0;
  }

  /** As allocated, of all running sequences; a page that several share counts once. */
  get kvBytesInUse(): number {
    if (this.#pages) return this.#pages.heldPages * this.#bytesPerPage;
    return this.running.reduce((sum, sequence) => sum + allocatedBytes(sequence), 0);
  }

  /** Prompt positions since start, and those of them that were not computed again because another request began alike. */
  get prefix(): { positions: number; reused: number } {
    return { positions: this.#pages?.openedPositions ?? 0, reused: this.#pages?.reusedPositions ?? 0 };
  }

  /** Whether one more would have to wait and may not: for a place in the batch or for room in the KV cache alike. */
  get isFull(): boolean {
    const mustWait = this.running.length >= this.#options.maxBatch || this.waiting.length > 0;
    return mustWait && this.waiting.length >= this.#options.maxQueue;
  }

  /** Throws an EngineError for a request that the KV cache can never hold. */
  refuseBeyondKv(request: GenerationRequest): void {
    const pages = this.#pages;
    if (!pages || pages.fits(this.#kvTokens(request))) return;
    throw new EngineError(
      'context-length',
      `The prompt has ${request.promptIds.length} tokens and asks for ${request.maxTokens} more; this server's KV cache ` +
        `holds ${pages.numPages * pages.pagePositions}: ask for fewer.`,
    );
  }

  /** Let go of who has ended, and take from those who wait as many as there is room for. */
  update(): void {
    for (const sequence of this.running) {
      if (sequence.finished && sequence.cache) this.#retired.push({ sequence, cache: sequence.cache });
    }
    remove(this.running, (sequence) => sequence.finished);
    remove(this.waiting, (sequence) => sequence.finished);
    this.#freeRetired();
    while (this.running.length < this.#options.maxBatch && this.waiting.length > 0) {
      const sequence = this.waiting[0]!;
      sequence.cache = this.#openCache(sequence);
      // In order: what would fit now doesn't overtake, or the long ones would wait for ever.
      if (!sequence.cache) break;
      this.running.push(this.waiting.shift()!);
    }
  }

  /** No later request starts from what was computed until now: it may be wrong. */
  forgetPrefixes(): void {
    this.#prefixEpoch++;
  }

  /** A pass may still be writing to the caches of its sequences: they are freed when it has ended. */
  #freeRetired(): void {
    remove(this.#retired, ({ sequence, cache }) => {
      if (!sequence.inPass) cache.free();
      return !sequence.inPass;
    });
  }

  /** Positions that a request may come to hold in the KV cache. */
  #kvTokens({ promptIds, maxTokens }: GenerationRequest): number {
    return Math.min(promptIds.length + maxTokens, this.#options.maxContext);
  }

  /** Its place in the KV cache, as long as it may get; undefined while there is no room for that. */
  #openCache(sequence: Sequence): SequenceCache | undefined {
    const { forward } = this.#options;
    if (!this.#pages) return forward.newSequence();
    const { request, deviceLimit } = sequence;
    // A limit changes what is computed, by the tabs of the moment: nobody else's beginning is this one's.
    const scope = deviceLimit ? `request ${request.id}` : (request.cacheScope ?? '');
    // A page's part of the MTP module's cache is there only if its first user drafts, and reads the same hidden states.
    const drafter = sequence.speculation?.cacheScope ?? '';
    // Where the prompt's logprobs are wanted, all of its positions are to be computed.
    const known = request.promptLogprobs ? [] : request.promptIds;
    sequence.pages = this.#pages.open(known, this.#kvTokens(request), `${this.#prefixEpoch} ${drafter} ${scope}`);
    return sequence.pages && forward.sequenceOn(sequence.pages);
  }
}

function allocatedBytes({ cache, speculation }: Sequence): number {
  return (cache?.allocatedBytes ?? 0) + (speculation?.mtp?.cache?.allocatedBytes ?? 0);
}

function remove<T>(list: T[], gone: (item: T) => boolean): void {
  for (let i = list.length - 1; i >= 0; i--) if (gone(list[i]!)) list.splice(i, 1);
}
