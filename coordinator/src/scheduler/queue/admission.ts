import type { ForwardEngine, SequenceCache } from '@shoal/model';
import { GenerationError, type GenerationRequest, type Refusal } from '../generation.ts';
import { FairQueue, PROMPT_COST, TOKEN_COST } from './fair-queue.ts';
import { KvPages } from '../kv/kv-pages.ts';
import type { Sequence } from '../sequence.ts';

export interface AdmissionOptions {
  forward: ForwardEngine;
  maxContext: number;
  /** Sequences decoded together. */
  maxBatch: number;
  /** Requests that may wait. */
  maxQueue: number;
  /** Of the drafter's KV cache, which lies in the same pages; 0 by default. */
  drafterBytesPerToken?: number;
}

/** Requests without room in the KV cache that are passed over in one look at the queue. */
const MAX_PASSED_OVER = 8;

/** Who waits, who is decoded, and who has which part of the KV cache. */
export class Admission {
  readonly running: Sequence[] = [];
  /** Called when a request gets its place in the batch. */
  onAdmitted: (sequence: Sequence) => void = () => {};
  readonly #queue: FairQueue<Sequence>;
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
    this.#queue = new FairQueue({
      maxQueue: options.maxQueue,
      clientOf,
      maxLead: options.maxContext * TOKEN_COST,
      costOf: ({ request }) => request.promptIds.length * PROMPT_COST + request.maxTokens * TOKEN_COST,
    });
    const budget = options.forward.lendPages();
    this.#pages = budget && new KvPages(budget);
    const { drafterBytesPerToken = 0 } = options;
    this.#bytesPerPage = budget ? budget.bytesPerPage + budget.pagePositions * drafterBytesPerToken : 0;
  }

  /** In order of arrival. */
  get waiting(): Sequence[] {
    return this.#queue.items;
  }

  /** At most so many of them, in the order of their turns. */
  inOrder(limit: number): Sequence[] {
    const first: Sequence[] = [];
    for (const sequence of this.#queue.order()) if (first.push(sequence) >= limit) break;
    return first;
  }

  /** As allocated, of all running sequences; a page that several share counts once. */
  get kvBytesInUse(): number {
    if (this.#pages) return this.#pages.heldPages * this.#bytesPerPage;
    return this.running.reduce((sum, sequence) => sum + allocatedBytes(sequence), 0);
  }

  /** Of requests that have ended, kept in case that another begins alike; with what is in use at most what there is. */
  get kvBytesKept(): number {
    return (this.#pages?.idlePages ?? 0) * this.#bytesPerPage;
  }

  /** Prompt positions since start, and those of them that were not computed again because another request began alike. */
  get prefix(): { positions: number; reused: number } {
    return { positions: this.#pages?.openedPositions ?? 0, reused: this.#pages?.reusedPositions ?? 0 };
  }

  /** Why one more of the client's may not wait, for a place in the batch or for room in the KV cache alike; undefined if it may. */
  refusal(client: string): Exclude<Refusal, 'too-late'> | undefined {
    const mustWait = this.running.length >= this.#options.maxBatch || this.#queue.length > 0;
    if (!mustWait) return undefined;
    if (this.#queue.isFull) return 'queue-full';
    return this.#queue.hasItsShare(client) ? 'share-full' : undefined;
  }

  /** Throws an GenerationError for a request that the KV cache can never hold. */
  refuseBeyondKv(request: GenerationRequest): void {
    const pages = this.#pages;
    if (!pages || pages.fits(this.#kvTokens(request))) return;
    throw new GenerationError(
      'context-length',
      `The prompt has ${request.promptIds.length} tokens and asks for ${request.maxTokens} more; this server's KV cache ` +
        `holds ${pages.numPages * pages.pagePositions}: ask for fewer.`,
    );
  }

  /** It waits, until `update` at least. */
  add(sequence: Sequence): void {
    this.#queue.add(sequence);
  }

  /** It doesn't wait any more. */
  withdraw(sequence: Sequence): void {
    this.#queue.drop((waiting) => waiting === sequence);
  }

  /** Tokens were generated for it. */
  charge(sequence: Sequence, tokens: number): void {
    this.#queue.charge(clientOf(sequence), tokens * TOKEN_COST);
  }

  /** Let go of who has ended, and take from those who wait as many as there is room for. */
  update(): void {
    for (const sequence of this.running) {
      if (!sequence.finished) continue;
      if (sequence.cache) this.#retired.push({ sequence, cache: sequence.cache });
      this.#queue.end(sequence);
    }
    remove(this.running, (sequence) => sequence.finished);
    this.#queue.drop((sequence) => sequence.finished);
    this.#freeRetired();
    while (this.running.length < this.#options.maxBatch && this.#admitNext()) {
      // One after the other: whose turn it is changes with each.
    }
  }

  /**
   * The first in fair order for whom the KV cache has room. One without room is passed over, until those who went before it
   * have taken as much as it needs: then all wait for it, and room comes as what runs ends. So neither do small requests wait
   * for all that a large one waits for, nor do they keep it out for ever.
   */
  #admitNext(): boolean {
    const passedOver: Sequence[] = [];
    for (const sequence of this.#queue.order()) {
      sequence.cache = this.#openCache(sequence);
      if (sequence.cache) {
        const positions = this.#kvTokens(sequence.request);
        for (const earlier of passedOver) earlier.passedByPositions += positions;
        this.#queue.take(sequence, (sequence.request.promptIds.length - sequence.cache.length) * PROMPT_COST);
        sequence.reusedPositions = sequence.cache.length;
        this.running.push(sequence);
        this.onAdmitted(sequence);
        return true;
      }
      const mayPass = sequence.passedByPositions < this.#kvTokens(sequence.request);
      if (!mayPass || passedOver.push(sequence) === MAX_PASSED_OVER) return false;
    }
    return false;
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

function clientOf({ request }: Sequence): string {
  return request.client ?? '';
}

function remove<T>(list: T[], gone: (item: T) => boolean): void {
  for (let i = list.length - 1; i >= 0; i--) if (gone(list[i]!)) list.splice(i, 1);
}
