import {
  answerOf,
  type EngineMtpRow,
  type ExpertDispatch,
  type ForwardEngine,
  type ForwardObserver,
  type ForwardResult,
  type TokenQuery,
} from '@shoal/model';
import type { BatchOptions } from '../../laps/dispatcher.ts';
import type { PassName } from '../../timeline/timeline.ts';
import type { BatchEntry } from '../batch/batch.ts';
import type { PassCosts } from '../batch/pass-costs.ts';
import type { Grace } from '../grace.ts';
import type { Sequence } from '../sequence.ts';
import type { MtpPosition, MtpStream } from './stream.ts';

/** Pending rows without a wanted draft are computed once there are this many: the module attends to all positions. */
const MAX_PENDING_ROWS = 64;
/** Pending rows of a finished sequence that are still worth computing, for requests that begin alike: one page. */
const MIN_LAST_ROWS = 16;
/** After this many failed calls in a row, a sequence's drafts come from the text instead. */
const MAX_FAILURES = 3;

/** A sequence whose pending positions are to be computed, and the number of drafts that it wants then. */
export interface MtpRequest {
  sequence: Sequence;
  stream: MtpStream;
  depth: number;
}

/** The pass that the drafts are made for, its observer, and how long it waits for what constraints say about drafts. */
export interface DraftsWithin {
  pass?: PassName;
  observe?: ForwardObserver;
  grace?: Grace;
}

/** A request in progress: the drafts so far, and what the next one continues from. */
interface Drafting extends MtpRequest {
  drafts: number[];
  last: MtpPosition;
}

export interface MtpDrafterOptions {
  forward: ForwardEngine;
  experts: { batch(options?: BatchOptions): ExpertDispatch };
  /** Told what calls cost. */
  costs: PassCosts;
  /** A clock in milliseconds. */
  now: () => number;
  /** Called when a call has failed; its drafts are left out. */
  onFailure: (error: unknown) => void;
}

/**
 * Drafts by the model's multi-token-prediction module (DeepSeek-V3 paper §2.2): one call for all sequences of a pass gives each
 * its first draft, and the module applied to its own hidden state and draft gives the next.
 */
export class MtpDrafter {
  readonly #options: MtpDrafterOptions;

  constructor(options: MtpDrafterOptions) {
    this.#options = options;
  }

  /** Queues the entry's accepted rows for the module. Called when a pass has computed them and the sequence has advanced. */
  note({ sequence, firstRow, startLength }: BatchEntry, { hidden }: ForwardResult, stream: MtpStream): void {
    const { forward } = this.#options;
    const { hiddenSize } = forward.config;
    const { pages, cache, ids } = sequence;
    stream.cache ??= pages ? forward.mtpSequenceOn(pages, startLength) : forward.newMtpSequence();
    // The last token of a finished sequence has no known next token.
    const end = Math.min(cache!.length, ids.length - 1);
    for (let position = startLength; position < end; position++) {
      const at = (firstRow + position - startLength) * hiddenSize;
      // A copy, so that a pending row does not keep the whole batch alive.
      stream.pending.push({ hidden: hidden.slice(at, at + hiddenSize), nextTokenId: ids[position + 1]!, position });
    }
  }

  /** Whether the pending positions should be computed although no draft is wanted. */
  isDue({ finished }: Sequence, { pending }: MtpStream): boolean {
    return pending.length >= (finished ? MIN_LAST_ROWS : MAX_PENDING_ROWS);
  }

  hasGivenUp({ failures }: MtpStream): boolean {
    return failures >= MAX_FAILURES;
  }

  /**
   * Computes the pending positions of these sequences, and as many drafts as each wants; fewer where an end of text is expected
   * or the module fails. Never throws.
   */
  async draft(requests: readonly MtpRequest[], within: DraftsWithin = {}): Promise<Map<Sequence, readonly number[]>> {
    const all = requests.map((request): Drafting => ({ ...request, drafts: [], last: request.stream.pending.at(-1)! }));
    // Calls with a prompt in them say nothing about those without.
    const isUsual = all.every(({ stream, depth }) => depth > 0 && stream.pending.length < MIN_LAST_ROWS);
    let going = await this.#timed(isUsual ? 'first' : undefined, () => this.#computePending(all, within));
    const lengths = going.map(({ stream }) => stream.cache!.length);
    const seen = going;
    while ((going = going.filter(wantsMore)).length > 0) {
      going = await this.#timed('deeper', () => this.#deeper(going, within));
    }
    for (const [i, { stream }] of seen.entries()) stream.cache!.truncate(lengths[i]!);
    return new Map(all.map(({ sequence, drafts }) => [sequence, drafts]));
  }

  async #computePending(all: readonly Drafting[], within: DraftsWithin): Promise<Drafting[]> {
    const rows = all.flatMap((drafting) => {
      const { stream, depth } = drafting;
      return stream.pending.map((position, i) => ({
        ...position,
        cache: stream.cache!,
        query: depth > 0 && i === stream.pending.length - 1 ? nextDraft(drafting) : undefined,
      }));
    });
    countCall(all.filter(({ depth }) => depth > 0));
    const result = await this.#call(rows, within);
    for (const { stream } of all) {
      stream.failures = result ? 0 : stream.failures + 1;
      if (this.hasGivenUp(stream)) stream.pending = [];
    }
    if (!result) return [];
    let end = 0;
    return all.filter((drafting) => {
      end += drafting.stream.pending.length;
      drafting.stream.pending = [];
      return drafting.depth > 0 && this.#take(drafting, result, end - 1);
    });
  }

  /** One more draft each: the module on its own hidden state, with the previous draft as the next token. */
  async #deeper(going: readonly Drafting[], within: DraftsWithin): Promise<Drafting[]> {
    countCall(going);
    const rows = going.map((drafting) => {
      return { ...drafting.last, cache: drafting.stream.cache!, query: nextDraft(drafting) };
    });
    const result = await this.#call(rows, within);
    return result ? going.filter((drafting, r) => this.#take(drafting, result, r)) : [];
  }

  async #call(rows: readonly EngineMtpRow[], { pass, observe }: DraftsWithin): Promise<ForwardResult | undefined> {
    const { forward, experts, onFailure } = this.#options;
    try {
      return await forward.forwardMtp(rows, experts.batch({ pass }), observe);
    } catch (error) {
      onFailure(error);
      return undefined;
    }
  }

  /** Takes the next draft from row `r` of the result; returns whether there is one. */
  #take(drafting: Drafting, result: ForwardResult, r: number): boolean {
    const { forward, onFailure } = this.#options;
    const { hiddenSize } = forward.config;
    try {
      const { tokenId } = answerOf(result.answers, r);
      // Nothing comes after an end, so it is never a draft.
      if (drafting.sequence.sampling.ends.has(tokenId)) return false;
      drafting.drafts.push(tokenId);
      const hidden = result.hidden.subarray(r * hiddenSize, (r + 1) * hiddenSize);
      drafting.last = { hidden, nextTokenId: tokenId, position: drafting.last.position + 1 };
      return true;
    } catch (error) {
      onFailure(error);
      return false;
    }
  }

  async #timed<T>(depth: 'first' | 'deeper' | undefined, call: () => Promise<T>): Promise<T> {
    const { now, costs } = this.#options;
    const startedMs = now();
    const result = await call();
    if (depth) costs.addDraftCall(depth, now() - startedMs);
    return result;
  }
}

function wantsMore({ sequence, drafts, depth }: Drafting): boolean {
  return !sequence.finished && drafts.length < depth;
}

/** Drawn with the random number that the model's own token will be drawn with: similar distributions then mostly agree. */
function nextDraft({ sequence, drafts }: Drafting): TokenQuery {
  return { token: sequence.sampling.params(drafts) };
}

function countCall(drafting: readonly Drafting[]): void {
  for (const { sequence } of drafting) sequence.speculation?.countDraftCall();
}
