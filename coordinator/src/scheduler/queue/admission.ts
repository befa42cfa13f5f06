import type { ForwardEngine, SequenceCache } from '@shoal/model';
import type { ServedAdapter } from '../../adapters/served-adapter.ts';
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
  /** Rows of one sequence in a pass at most, which bounds what its windows hold; by default no bound. */
  maxRows?: number;
  /** The drafter's KV cache, which lies in the same pages; 0 by default. */
  drafterBytesPerToken?: number;
  /** Called when a request gets its place in the batch. */
  onAdmitted?: (sequence: Sequence) => void;
}

/** A request with credit is charged this part of what it costs, so its client has up to four turns while others have one. */
const CREDIT_WEIGHT = 4;

/** Requests without room in the KV cache that are skipped in one look at the queue. */
const MAX_PASSED_OVER = 8;

/** Admits waiting requests to the batch, and gives each its pages of the KV cache. */
export class Admission {
  readonly running: Sequence[] = [];
  readonly #queue: FairQueue<Sequence>;
  readonly #options: AdmissionOptions;
  /** Caches of sequences that have ended, until no pass writes to them. */
  readonly #retired: Sequence[] = [];
  /** Undefined if the KV cache is not paged. */
  readonly #pages: KvPages | undefined;
  /** Including the drafter's cache. */
  readonly #bytesPerPage: number;
  #prefixEpoch = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
    this.#queue = new FairQueue({
      maxQueue: options.maxQueue,
      clientOf,
      maxLead: options.maxContext * TOKEN_COST,
      costOf: ({ request }) =>
        (request.promptIds.length * PROMPT_COST + request.maxTokens * TOKEN_COST) / weightOf(request),
    });
    const budget = options.forward.lendPages();
    const { drafterBytesPerToken = 0, maxRows } = options;
    this.#pages = budget && new KvPages({ ...budget, ...(maxRows && { maxRows }) });
    this.#bytesPerPage = budget ? budget.bytesPerPage + budget.pagePositions * drafterBytesPerToken : 0;
  }

  /** Waiting sequences in order of arrival. */
  get waiting(): Sequence[] {
    return this.#queue.items;
  }

  /** The first `limit` waiting sequences in the order of their turns. */
  inOrder(limit: number): Sequence[] {
    const first: Sequence[] = [];
    for (const sequence of this.#queue.order()) if (first.push(sequence) >= limit) break;
    return first;
  }

  /** KV cache of all running sequences, as allocated; a shared page counts once. */
  get kvBytesInUse(): number {
    if (this.#pages) return this.#pages.heldPages * this.#bytesPerPage;
    return this.running.reduce((sum, sequence) => sum + allocatedBytes(sequence), 0);
  }

  /** KV cache of finished requests, kept for prefix reuse. */
  get kvBytesKept(): number {
    return (this.#pages?.idlePages ?? 0) * this.#bytesPerPage;
  }

  /** Prompt positions since start, and those reused from another request with the same beginning. */
  get prefix(): { positions: number; reused: number } {
    return { positions: this.#pages?.openedPositions ?? 0, reused: this.#pages?.reusedPositions ?? 0 };
  }

  /** Why the client may not queue one more request; undefined if it may. */
  refusal(client: string): Exclude<Refusal, 'too-late'> | undefined {
    const mustWait = this.running.length >= this.#options.maxBatch || this.#queue.length > 0;
    if (!mustWait) return undefined;
    if (this.#queue.isFull) return 'queue-full';
    return this.#queue.hasItsShare(client) ? 'share-full' : undefined;
  }

  /**
   * The cache of a sequence outside the batch, of at most `positions`, which the caller frees; undefined while there is no room.
   */
  openApart(positions: number): SequenceCache | undefined {
    const { forward } = this.#options;
    if (!this.#pages) return forward.newSequence();
    const pages = this.#pages.open([], positions);
    return pages && forward.sequenceOn(pages);
  }

  /** The most positions that the KV cache can hold for one sequence, which may have an adapter. */
  mostPositions(adapter?: ServedAdapter): number {
    return this.#pages?.mostPositionsOf(cachesUnder(adapter)) ?? Number.POSITIVE_INFINITY;
  }

  /** Throws a GenerationError for a request that the KV cache can never hold. */
  refuseBeyondKv(request: GenerationRequest): void {
    const { promptIds, maxTokens, adapter } = request;
    const most = this.mostPositions(adapter);
    if (this.#kvTokens(request) <= most) return;
    const twice = adapter?.mixture ? ' twice, as a mixture of adapters needs them' : '';
    throw new GenerationError(
      'context-length',
      `The prompt has ${promptIds.length} tokens and the answer may have ${maxTokens}, but the KV cache ` +
        `holds only ${most}${twice}. Shorten one of them.`,
    );
  }

  /** Adds a sequence to the queue; `update` may admit it. */
  add(sequence: Sequence): void {
    this.#queue.add(sequence);
  }

  /** Removes a sequence from the queue. */
  withdraw(sequence: Sequence): void {
    this.#queue.drop((waiting) => waiting === sequence);
  }

  /** Charges the sequence's client for generated tokens. */
  charge(sequence: Sequence, tokens: number): void {
    const { request } = sequence;
    this.#queue.charge(clientOf(sequence), (tokens * TOKEN_COST) / weightOf(request));
    request.credit?.spend(tokens);
  }

  /** Releases sequences that have ended, and admits waiting ones while there is room. */
  update(): void {
    for (const sequence of this.running) {
      if (!sequence.finished) continue;
      if (sequence.cache) this.#retired.push(sequence);
      this.#queue.end(sequence);
    }
    remove(this.running, (sequence) => sequence.finished);
    this.#queue.drop((sequence) => sequence.finished);
    this.#freeRetired();
    while (this.running.length < this.#options.maxBatch && this.#admitNext()) {
      // One at a time: each admission changes whose turn is next.
    }
  }

  /**
   * Admits the first request in fair order that the KV cache has room for. A request without room is skipped until those
   * admitted ahead of it have taken as many positions as it needs; then all wait for it. So small requests need not wait for a
   * large one, and cannot starve it either.
   */
  #admitNext(): boolean {
    const passedOver: Sequence[] = [];
    for (const sequence of this.#queue.order()) {
      const positions = this.#kvTokens(sequence.request) * cachesUnder(sequence.request.adapter);
      if (this.#openCaches(sequence)) {
        for (const earlier of passedOver) earlier.passedByPositions += positions;
        const promptCost = (sequence.request.promptIds.length - sequence.cache!.length) * PROMPT_COST;
        this.#queue.take(sequence, promptCost / weightOf(sequence.request));
        this.running.push(sequence);
        this.#options.onAdmitted?.(sequence);
        return true;
      }
      const mayPass = sequence.passedByPositions < positions;
      if (!mayPass || passedOver.push(sequence) === MAX_PASSED_OVER) return false;
    }
    return false;
  }

  /** Lets no later request start from what has been computed so far, because it may be wrong. */
  forgetPrefixes(): void {
    this.#prefixEpoch++;
  }

  /** Frees caches of ended sequences that no pass is still writing to. */
  #freeRetired(): void {
    remove(this.#retired, (sequence) => {
      if (sequence.inPass) return false;
      sequence.cache!.free();
      sequence.firstPass?.cache.free();
      sequence.releaseAdapter?.();
      return true;
    });
  }

  /** The most positions that a request may hold in the KV cache. */
  #kvTokens({ promptIds, maxTokens }: GenerationRequest): number {
    return Math.min(promptIds.length + maxTokens, this.#options.maxContext);
  }

  /** Reserves room in the KV cache for all that the sequence may grow to; false while there is not enough. */
  #openCaches(sequence: Sequence): boolean {
    const { forward } = this.#options;
    const { request } = sequence;
    const scopes = this.#scopesOf(sequence);
    if (!this.#pages) {
      sequence.cache = forward.newSequence();
      sequence.firstPass = scopes.length > 1 ? { cache: forward.newSequence(), pages: undefined } : undefined;
      return true;
    }
    // Prompt log-probabilities need every position computed.
    const known = request.promptLogprobs ? [] : request.promptIds;
    const [pages, first] = this.#pages.openTogether(known, this.#kvTokens(request), scopes) ?? [];
    if (!pages) return false;
    sequence.pages = pages;
    sequence.cache = forward.sequenceOn(pages);
    sequence.firstPass = first && { cache: forward.sequenceOn(first), pages: first };
    return true;
  }

  /** Of its KV cache, and of that of its first pass: only what is the same in both keys and values may be shared. */
  #scopesOf({ request, deviceLimit, speculation }: Sequence): string[] {
    const { adapter } = request;
    // Under a device limit results depend on the peers of the moment, and each position of a source on all of it, so no prefix is
    // shared.
    const isApart = deviceLimit !== undefined || request.sourceLength !== undefined;
    const scope = isApart ? `request ${request.id}` : (request.cacheScope ?? '');
    // Keys and values depend on it.
    const under = adapter ? `adapter ${adapter.id}` : '';
    // A page holds the drafter's cache only if its first user drafts.
    const drafter = speculation?.cacheScope ?? '';
    const scopes = [`${this.#prefixEpoch} ${drafter} ${under} ${scope}`];
    if (!adapter?.mixture) return scopes;
    // Most add nothing in it, and then it is the model's own.
    const first = adapter.mixture.rules.firstPassValue === 0 ? '' : `${under} first`;
    return [...scopes, `${this.#prefixEpoch}  ${first} ${scope}`];
  }
}

/** KV caches of a sequence. */
function cachesUnder(adapter: ServedAdapter | undefined): number {
  return adapter?.mixture ? 2 : 1;
}

function allocatedBytes({ cache, firstPass, speculation }: Sequence): number {
  const own = (cache?.allocatedBytes ?? 0) + (firstPass?.cache.allocatedBytes ?? 0);
  return own + (speculation?.drafterStream?.cache?.allocatedBytes ?? 0);
}

/** While its credit lasts. */
const weightOf = ({ credit }: GenerationRequest): number => (credit && credit.left > 0 ? CREDIT_WEIGHT : 1);

function clientOf({ request }: Sequence): string {
  return request.client ?? '';
}

function remove<T>(list: T[], gone: (item: T) => boolean): void {
  for (let i = list.length - 1; i >= 0; i--) if (gone(list[i]!)) list.splice(i, 1);
}
