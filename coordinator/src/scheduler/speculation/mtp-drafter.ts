import {
  answerOf,
  type EngineMtpRow,
  type ExpertDispatch,
  type ForwardEngine,
  type ForwardObserver,
  type ForwardResult,
  type TokenAnswer,
  type TokenQuery,
} from '@shoal/model';
import type { BatchOptions } from '../../laps/dispatcher.ts';
import type { PassName } from '../../timeline/timeline.ts';
import type { BatchEntry } from '../batch/batch.ts';
import type { PassCosts } from '../batch/pass-costs.ts';
import type { Grace } from '../grace.ts';
import type { Sequence } from '../sequence.ts';
import type { Confidence } from './confidence.ts';
import { slotsOf } from './draft-tree.ts';
import type { PossibleDrafts } from './shape.ts';
import type { MtpStream } from './stream.ts';

/** Pending rows without a wanted draft are computed once there are this many: the module attends to all positions. */
const MAX_PENDING_ROWS = 64;
/** Pending rows of a finished sequence that are still worth computing, for requests that begin alike: one page. */
const MIN_LAST_ROWS = 16;
/** After this many failed calls in a row, a sequence's drafts come from the text instead. */
const MAX_FAILURES = 3;

/** Alternatives to a draft that are considered. */
const ALTERNATIVES = 4;
/** Nodes of one depth that are drafted on from: each is a row of the module's next call. */
const BEAM = 4;
/** Nodes less likely than this are not drafted on from, however little rows cost. */
const LEAST_CHANCE = 0.02;

/** A sequence whose pending positions are to be computed, and the drafts that it wants then. */
export interface MtpRequest {
  sequence: Sequence;
  stream: MtpStream;
  /** How far ahead, and how far even where no draft is likely. */
  depth: number;
  leastDepth: number;
  /** How likely a draft must be to be worth its row. */
  worth: number;
  /** Nodes that are drafted on from at most: each takes a slot of the module's cache. */
  room: number;
  /** Whether only the draws are drafted, one after another. */
  isChain: boolean;
}

/** The pass that the drafts are made for, its observer, and how long it waits for what constraints say about drafts. */
export interface DraftsWithin {
  pass?: PassName;
  observe?: ForwardObserver;
  grace?: Grace;
}

/** A draft in the making: how likely it is, and what the module needs to go on from it. */
interface Node {
  token: number;
  parent: number;
  depth: number;
  chance: number;
  kind: number;
  /** The module's hidden state that it was drafted from. */
  hidden: Float32Array;
  /** Where its row lies in the module's cache, once there is one. */
  slot: number | undefined;
}

/** A request in progress. */
interface Drafting extends MtpRequest {
  nodes: Node[];
  /** The nodes of the last depth that are drafted on from. */
  frontier: number[];
  /** Nodes that have been drafted on from. */
  expanded: number;
  /** The last position whose next token is known. */
  last: number;
}

export interface MtpDrafterOptions {
  forward: ForwardEngine;
  experts: { batch(options?: BatchOptions): ExpertDispatch };
  /** Told what calls cost. */
  costs: PassCosts;
  /** A clock in milliseconds. */
  now: () => number;
  /** Says how likely drafts are. */
  confidence: Confidence;
  /** Called when a call has failed; its drafts are left out. */
  onFailure: (error: unknown) => void;
}

/**
 * Drafts by the model's multi-token-prediction module (DeepSeek-V3 paper §2.2): one call for all sequences of a pass gives each
 * its first drafts, and the module applied to its own hidden states and drafts, one call for all those of a depth, gives the next.
 */
export class MtpDrafter {
  readonly #options: MtpDrafterOptions;

  constructor(options: MtpDrafterOptions) {
    this.#options = options;
  }

  /** Queues the entry's accepted rows for the module. Called when a pass has computed them and the sequence has advanced. */
  note(entry: BatchEntry, { hidden }: ForwardResult, stream: MtpStream): void {
    const { sequence, startLength } = entry;
    const { forward } = this.#options;
    const { hiddenSize } = forward.config;
    const { pages, cache, ids } = sequence;
    stream.cache ??= pages ? forward.mtpSequenceOn(pages, startLength) : forward.newMtpSequence();
    // The last token of a finished sequence has no known next token.
    const end = Math.min(cache!.length, ids.length - 1);
    for (let position = startLength; position < end; position++) {
      const at = rowAt(entry, position) * hiddenSize;
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
   * Computes the pending positions of these sequences, and the drafts that each wants; fewer where an end of text is expected or
   * the module fails. Never throws.
   */
  async draft(requests: readonly MtpRequest[], within: DraftsWithin = {}): Promise<Map<Sequence, PossibleDrafts>> {
    const all = requests.map((request): Drafting => {
      return { ...request, nodes: [], frontier: [], expanded: 0, last: request.stream.pending.at(-1)!.position };
    });
    // Calls with a prompt in them say nothing about those without.
    const isUsual = all.every(({ stream, depth }) => depth > 0 && stream.pending.length < MIN_LAST_ROWS);
    let going = await this.#timed(isUsual ? 'first' : undefined, () => this.#computePending(all, within));
    const lengths = going.map(({ stream }) => stream.cache!.length);
    const seen = going;
    for (let depth = 2; (going = going.filter((each) => wantsMore(each, depth))).length > 0; depth++) {
      going = await this.#timed('deeper', () => this.#deeper(going, within));
    }
    for (const [i, { stream }] of seen.entries()) stream.cache!.truncate(lengths[i]!);
    return new Map(all.map(({ sequence, nodes }) => [sequence, possible(nodes)]));
  }

  async #computePending(all: readonly Drafting[], within: DraftsWithin): Promise<Drafting[]> {
    const rows = all.flatMap((drafting) => {
      const { stream, depth } = drafting;
      return stream.pending.map((position, i) => ({
        ...position,
        cache: stream.cache!,
        query: depth > 0 && i === stream.pending.length - 1 ? nextDrafts(drafting, -1) : undefined,
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
      return drafting.depth > 0 && this.#take(drafting, [-1], result, end - 1);
    });
  }

  /** The drafts of one more depth: the module on its own hidden states, with the drafts as the next tokens. */
  async #deeper(going: readonly Drafting[], within: DraftsWithin): Promise<Drafting[]> {
    countCall(going);
    const rows = going.flatMap((drafting) => drafting.frontier.map((node, i) => rowOf(drafting, node, i)));
    const result = await this.#call(rows, within);
    if (!result) return [];
    let firstRow = 0;
    return going.filter((drafting) => {
      const nodes = drafting.frontier;
      const isTaken = this.#take(drafting, nodes, result, firstRow);
      firstRow += nodes.length;
      return isTaken;
    });
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

  /**
   * Takes the drafts after some nodes from the rows of the result from `firstRow` on, and chooses which of them to go on from.
   * Returns whether there are any.
   */
  #take(drafting: Drafting, parents: readonly number[], result: ForwardResult, firstRow: number): boolean {
    const { forward, onFailure } = this.#options;
    const { hiddenSize } = forward.config;
    const first = drafting.nodes.length;
    try {
      for (const [i, parent] of parents.entries()) {
        const row = firstRow + i;
        const hidden = result.hidden.subarray(row * hiddenSize, (row + 1) * hiddenSize);
        this.#addDrafts(drafting, parent, answerOf(result.answers, row), hidden);
      }
    } catch (error) {
      drafting.nodes.length = first;
      onFailure(error);
      return false;
    }
    drafting.expanded += parents[0] === -1 ? 0 : parents.length;
    const added = drafting.nodes.map((_, node) => node).slice(first);
    const byChance = added.toSorted((a, b) => drafting.nodes[b]!.chance - drafting.nodes[a]!.chance);
    drafting.frontier = byChance
      .filter((node, i) => isWorth(drafting, node, i === 0))
      .slice(0, Math.min(BEAM, drafting.room - drafting.expanded))
      .sort((a, b) => a - b);
    return added.length > 0;
  }

  /** Adds the drafts after a node: the one that was drawn first, and then the likeliest others. */
  #addDrafts({ nodes, sequence }: Drafting, parent: number, answer: TokenAnswer, hidden: Float32Array): void {
    const { confidence } = this.#options;
    const { chance = 1, depth = 0 } = nodes[parent] ?? {};
    const drawn = { tokenId: answer.tokenId, logprob: answer.logprob! };
    const others = (answer.topLogprobs ?? []).filter(({ tokenId }) => tokenId !== drawn.tokenId);
    const views = [drawn, ...others].map(({ tokenId, logprob }) => {
      const view = { depth: depth + 1, probability: Math.exp(logprob), isDrawn: tokenId === drawn.tokenId };
      return { token: tokenId, rate: confidence.rate(view), kind: confidence.kindOf(view) };
    });
    // One of them is right at most.
    const total = Math.max(
      1,
      views.reduce((sum, { rate }) => sum + rate, 0),
    );
    for (const { token, rate, kind } of views) {
      // Nothing comes after an end, so it is never a draft.
      if (sequence.sampling.ends.has(token)) continue;
      nodes.push({ token, parent, depth: depth + 1, chance: (chance * rate) / total, kind, hidden, slot: undefined });
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

/** Whether to draft on from a node: what comes after it is not likelier. */
function isWorth({ nodes, worth, leastDepth }: Drafting, node: number, isLikeliest: boolean): boolean {
  const { chance, depth } = nodes[node]!;
  return chance >= Math.max(worth, LEAST_CHANCE) || (isLikeliest && depth < leastDepth);
}

function wantsMore({ sequence, frontier, depth }: Drafting, next: number): boolean {
  return !sequence.finished && frontier.length > 0 && next <= depth;
}

/** The row of the result with an accepted position of an entry. */
function rowAt({ firstRow, numRows, startLength, drafts, accepted }: BatchEntry, position: number): number {
  const known = numRows - drafts.tokens.length;
  const row = position - startLength;
  return firstRow + (row < known ? row : known + accepted[row - known]!);
}

/** The module's row that drafts on from a node, the `i`-th of its sequence's rows in the call. */
function rowOf(drafting: Drafting, node: number, i: number): EngineMtpRow {
  const { nodes, stream, last } = drafting;
  const { token, depth, hidden } = nodes[node]!;
  const cache = stream.cache!;
  nodes[node]!.slot = cache.length + i;
  const position = last + depth;
  const slots = pathOf(nodes, node).map((each) => each.slot!);
  return {
    hidden,
    nextTokenId: token,
    position,
    cache,
    slots: slotsOf(slots, position),
    query: nextDrafts(drafting, node),
  };
}

function pathOf(nodes: readonly Node[], node: number): Node[] {
  const path: Node[] = [];
  for (let at = nodes[node]; at; at = nodes[at.parent]) path.unshift(at);
  return path;
}

function possible(nodes: readonly Node[]): PossibleDrafts {
  return {
    tokens: nodes.map(({ token }) => token),
    parents: nodes.map(({ parent }) => parent),
    chances: nodes.map(({ chance }) => chance),
    kinds: nodes.map(({ kind }) => kind),
  };
}

/**
 * The first draft after a node is drawn with the random number that the model's own token will be drawn with: similar
 * distributions then mostly agree. The others are the likeliest.
 */
function nextDrafts({ sequence, nodes, isChain }: Drafting, node: number): TokenQuery {
  const text = pathOf(nodes, node).map(({ token }) => token);
  return { token: sequence.sampling.params(text), topLogprobs: isChain ? 0 : ALTERNATIVES };
}

function countCall(drafting: readonly Drafting[]): void {
  for (const { sequence } of drafting) sequence.speculation?.countDraftCall();
}
