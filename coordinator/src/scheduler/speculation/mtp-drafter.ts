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
import type { Sequence } from '../sequence.ts';
import { CallCost } from './cost.ts';
import type { HiddenReading } from './reading.ts';

/** Rows that wait for a draft to be wanted are computed when there are so many: the module attends to all positions. */
const MAX_PENDING_ROWS = 64;
/** Of an answer that has ended, so many are worth computing for whoever begins alike: a page. */
const MIN_LAST_ROWS = 16;
/** After so many failed calls one after the other a stream's drafts come from elsewhere. */
const MAX_FAILURES = 3;

/** A position whose hidden state and next token are known. */
type MtpPosition = Pick<EngineMtpRow, 'hidden' | 'nextTokenId' | 'position'>;

/** What the MTP module knows of one answer. */
export interface MtpStream {
  readonly reading: HiddenReading;
  /** Its KV cache, from the first pass on. */
  cache: EngineMtpRow['cache'] | undefined;
  /** Positions that the module has not seen. */
  pending: MtpPosition[];
  failures: number;
}

/** A sequence whose pending positions are to be computed, and how many drafts it wants then. */
export interface MtpRequest {
  sequence: Sequence;
  stream: MtpStream;
  depth: number;
}

/** The pass whose drafts they are, for whoever watches it. */
export interface DraftsWithin {
  pass?: PassName;
  observe?: ForwardObserver;
}

/** A query on its way: the drafts so far, and what the next one continues from. */
interface Drafting extends MtpRequest {
  drafts: number[];
  last: MtpPosition;
}

export interface MtpDrafterOptions {
  forward: ForwardEngine;
  experts: { batch(options?: BatchOptions): ExpertDispatch };
  /** Tokens that end an answer: nothing comes after them, so they are no drafts. */
  eosTokenIds: readonly number[];
  /** Milliseconds of a clock. */
  now: () => number;
  /** A call failed, and its drafts are done without. */
  onFailure: (error: unknown) => void;
}

/**
 * Drafts by the model's multi-token-prediction module (DeepSeek-V3 paper §2.2): one call for all sequences of a pass gives each
 * its first draft; the module applied to its own hidden state and draft gives the next.
 */
export class MtpDrafter {
  readonly #options: MtpDrafterOptions;
  /** Of a call for the first drafts of decoding sequences, and of one for each further depth. */
  readonly firstMs = new CallCost();
  readonly deeperMs = new CallCost();

  constructor(options: MtpDrafterOptions) {
    this.#options = options;
  }

  /** A pass has computed the entry's rows, and its sequence has taken what was right of them: the module may see those. */
  note({ sequence, firstRow, startLength }: BatchEntry, result: ForwardResult, stream: MtpStream): void {
    const { forward } = this.#options;
    const { hiddenSize } = forward.config;
    const { pages, cache, ids } = sequence;
    stream.cache ??= pages ? forward.mtpSequenceOn(pages, startLength) : forward.newMtpSequence();
    const states = statesOf(result, stream);
    // Of an answer that has ended, the last token's next one is not known.
    const end = Math.min(cache!.length, ids.length - 1);
    for (let position = startLength; position < end; position++) {
      const at = (firstRow + position - startLength) * hiddenSize;
      // A copy, so that a row that waits doesn't keep the batch.
      stream.pending.push({ hidden: states.slice(at, at + hiddenSize), nextTokenId: ids[position + 1]!, position });
    }
  }

  /** Whether its positions should be computed although no draft is wanted. */
  isDue({ finished }: Sequence, { pending }: MtpStream): boolean {
    return pending.length >= (finished ? MIN_LAST_ROWS : MAX_PENDING_ROWS);
  }

  hasGivenUp({ failures }: MtpStream): boolean {
    return failures >= MAX_FAILURES;
  }

  /**
   * Computes what these sequences have pending, and as many drafts as each wants: fewer where an end of text is expected, or
   * the module fails. Never throws.
   */
  async draft(requests: readonly MtpRequest[], within: DraftsWithin = {}): Promise<Map<Sequence, readonly number[]>> {
    const all = requests.map((query): Drafting => ({ ...query, drafts: [], last: query.stream.pending.at(-1)! }));
    // Calls with a prompt in them say nothing of those without.
    const isUsual = all.every(({ stream, depth }) => depth > 0 && stream.pending.length < MIN_LAST_ROWS);
    let going = await this.#timed(isUsual ? this.firstMs : undefined, () => this.#seePending(all, within));
    const lengths = going.map(({ stream }) => stream.cache!.length);
    const seen = going;
    while ((going = going.filter((drafting) => this.#goesOn(drafting))).length > 0) {
      going = await this.#timed(this.deeperMs, () => this.#deeper(going, within));
    }
    for (const [i, { stream }] of seen.entries()) stream.cache!.truncate(lengths[i]!);
    return new Map(all.map(({ sequence, drafts }) => [sequence, drafts]));
  }

  async #seePending(all: readonly Drafting[], within: DraftsWithin): Promise<Drafting[]> {
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
    const taken = all.filter((drafting) => {
      end += drafting.stream.pending.length;
      drafting.stream.pending = [];
      return drafting.depth > 0 && this.#take(drafting, result, end - 1);
    });
    return taken;
  }

  /** One draft more: the module on its own hidden state, with the draft before as the next token. */
  async #deeper(going: readonly Drafting[], within: DraftsWithin): Promise<Drafting[]> {
    countCall(going);
    const result = await this.#call(
      going.map((drafting) => {
        const { last, stream } = drafting;
        return { ...last, cache: stream.cache!, query: nextDraft(drafting) };
      }),
      within,
    );
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

  /** Its next draft, from the result's row `r`; whether there is one. */
  #take(drafting: Drafting, result: ForwardResult, r: number): boolean {
    const { stream, drafts, last } = drafting;
    const { eosTokenIds, forward, onFailure } = this.#options;
    const { hiddenSize } = forward.config;
    try {
      const { tokenId } = answerOf(result.answers, r);
      if (eosTokenIds.includes(tokenId)) return false;
      drafts.push(tokenId);
      const hidden = statesOf(result, stream).subarray(r * hiddenSize, (r + 1) * hiddenSize);
      drafting.last = { hidden, nextTokenId: tokenId, position: last.position + 1 };
      return true;
    } catch (error) {
      onFailure(error);
      return false;
    }
  }

  #goesOn({ sequence, drafts, depth }: Drafting): boolean {
    return !sequence.finished && drafts.length < depth;
  }

  async #timed<T>(cost: CallCost | undefined, call: () => Promise<T>): Promise<T> {
    const { now } = this.#options;
    const startedMs = now();
    const result = await call();
    cost?.add(now() - startedMs);
    return result;
  }
}

/** Drawn with the number that the model's own token will be drawn with: alike distributions then mostly give the same token. */
function nextDraft({ sequence, drafts }: Drafting): TokenQuery {
  const { temperature, topP, topK } = sequence.request;
  const uniform = temperature > 0 ? sequence.draws.peek(drafts.length) : 0;
  return { token: { temperature, topP, topK, uniform } };
}

function countCall(drafting: readonly Drafting[]): void {
  for (const { sequence } of drafting) sequence.speculation?.countDraftCall();
}

/** [numRows, hiddenSize], as the stream's module reads them. */
function statesOf({ hidden, preNormHidden }: ForwardResult, { reading }: MtpStream): Float32Array {
  return reading === 'after-norm' ? hidden : preNormHidden;
}
