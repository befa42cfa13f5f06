import { answerOf, type TokenAnswer, type TokenQuery, type ForwardResult } from '@shoal/model';
import type { BatchEntry } from '../batch/batch.ts';
import type { PassCosts } from '../batch/pass-costs.ts';
import type { Sequence } from '../sequence.ts';
import type { Confidence } from './confidence.ts';
import { slotsOf } from './draft-tree.ts';
import type { DraftEngine, Drafter, DraftRequest, DraftResult, DraftRow, DraftsWithin } from './drafter.ts';
import type { DrafterKind, DrafterStream } from './drafter-stream.ts';
import type { PossibleDrafts } from './shape.ts';

/** Pending rows without a wanted draft are computed once there are this many: a drafter attends to all positions. */
const MAX_PENDING_ROWS = 64;
/** Pending rows of a finished sequence that are still worth computing, for requests that begin alike: one page. */
const MIN_LAST_ROWS = 16;
/** Pending rows of long texts are computed for so long in a pass at most, since all its sequences wait: this, or a share of the pass. */
const MIN_READ_MS = 50;
const READ_SHARE = 0.25;
/** Some of them are computed however many short ones there are. */
const MIN_LONG_ROWS = 8;
/** After this many failed calls in a row, a sequence's drafts come from the text instead. */
const MAX_FAILURES = 3;

/** Alternatives to a draft that are considered. */
const ALTERNATIVES = 4;
/** Nodes of one depth that are drafted on from: each is a row of the engine's next call. */
const BEAM = 4;
/** Nodes less likely than this are not drafted on from, however little rows cost. */
const LEAST_CHANCE = 0.02;

/** A draft in the making: how likely it is, and what the engine needs to go on from it. */
interface Node {
  token: number;
  parent: number;
  depth: number;
  chance: number;
  kind: number;
  /** The engine's hidden state that it was drafted from. */
  hidden: Float32Array;
  /** Where its row lies in the drafter's cache, once there is one. */
  slot: number | undefined;
}

/** A request in progress. */
interface Drafting extends DraftRequest {
  nodes: Node[];
  /** The nodes of the last depth that are drafted on from. */
  frontier: number[];
  /** Nodes that have been drafted on from. */
  expanded: number;
  /** The last position whose next token is known. */
  last: number;
}

export interface StepwiseDrafterOptions {
  engine: DraftEngine;
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
 * Drafts one depth after another: one call of the engine for all sequences of a pass gives each its first drafts, and one call for
 * all those of a depth gives the next.
 */
export class StepwiseDrafter implements Drafter {
  readonly #options: StepwiseDrafterOptions;
  /** Passes × decoding sequences since drafts were last wanted. */
  #unwanted = 0;

  constructor(options: StepwiseDrafterOptions) {
    this.#options = options;
  }

  get kind(): DrafterKind {
    return this.#options.engine.kind;
  }

  get lapsPerDraft(): number {
    return this.#options.engine.lapsPerDraft;
  }

  get kvBytesPerToken(): number {
    return this.#options.engine.kvBytesPerToken;
  }

  get firstPrior(): number {
    return this.#options.engine.firstPrior;
  }

  begin(): DrafterStream {
    return { cache: undefined, pending: [], failures: 0, wantedAt: 0 };
  }

  note(entry: BatchEntry, result: ForwardResult, stream: DrafterStream): void {
    const { engine } = this.#options;
    stream.cache ??= engine.openCache(entry.sequence, entry.startLength);
    const positions = stream.cache && engine.positionsOf(entry, result);
    if (entry.sequence.state === 'decode') this.#unwanted++;
    if (positions) stream.pending.push(...positions);
    else giveUp(stream);
  }

  isDue({ finished, state, ids }: Sequence, { pending, wantedAt }: DrafterStream): boolean {
    const { keepsUp = true } = this.#options.engine;
    // A prompt is read at once if texts have had drafts of late.
    const since = state === 'prefill' ? this.#unwanted : ids.length - wantedAt;
    const isOfUse = keepsUp || since <= MAX_PENDING_ROWS;
    return isOfUse && pending.length >= (finished ? MIN_LAST_ROWS : MAX_PENDING_ROWS);
  }

  hasGivenUp({ failures }: DrafterStream): boolean {
    return failures >= MAX_FAILURES;
  }

  async draft(requests: readonly DraftRequest[], within: DraftsWithin = {}): Promise<Map<Sequence, PossibleDrafts>> {
    const all = requests.map((request) => this.#begin(request));
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

  #begin(request: DraftRequest): Drafting {
    const { sequence, stream, depth } = request;
    const { engine } = this.#options;
    if (depth > 0) {
      stream.wantedAt = sequence.ids.length;
      this.#unwanted = 0;
    }
    const room = Math.min(request.room, engine.roomOf?.(sequence) ?? request.room);
    const reachable = Math.min(depth, engine.mostDepth ?? depth);
    return {
      ...request,
      depth: reachable,
      room,
      nodes: [],
      frontier: [],
      expanded: 0,
      last: stream.pending.at(-1)!.position,
    };
  }

  /** Computes the pending positions, or the first of them where a call can't take all: those sequences draft in a later pass. */
  async #computePending(all: readonly Drafting[], within: DraftsWithin): Promise<Drafting[]> {
    const shares = this.#shares(all);
    const isReady = ({ depth, stream }: Drafting, i: number): boolean =>
      depth > 0 && shares[i] === stream.pending.length;
    const rows = all.flatMap((drafting, at) => {
      const { cache, pending } = drafting.stream;
      return pending.slice(0, shares[at]).map((position, i) => ({
        ...position,
        cache: cache!,
        ...(isReady(drafting, at) &&
          i === pending.length - 1 && {
            query: nextDrafts(drafting, -1),
            ahead: {
              room: drafting.room,
              query: (drafts: number): TokenQuery => draftsAfter(drafting, unknownTokens(drafts)),
            },
          }),
        isOwn: false,
      }));
    });
    countCall(all.filter(isReady));
    const result = await this.#call(rows, within);
    for (const { stream } of all) {
      stream.failures = result ? 0 : stream.failures + 1;
      if (this.hasGivenUp(stream)) giveUp(stream);
    }
    if (!result) return [];
    let end = 0;
    return all.filter((drafting, i) => {
      const isDrafting = isReady(drafting, i);
      const { stream } = drafting;
      end += shares[i]!;
      stream.pending = stream.pending.slice(shares[i]);
      return isDrafting && this.#take(drafting, [-1], result, end - 1);
    });
  }

  /** How many of each one's pending positions this call computes: few always, of many as much as is left. */
  #shares(all: readonly Drafting[]): number[] {
    const { engine, costs } = this.#options;
    const ms = Math.max(MIN_READ_MS, READ_SHARE * costs.passMs(all.length));
    const most = engine.rowsWithin?.(ms) ?? Number.POSITIVE_INFINITY;
    const isLong = (rows: number): boolean => rows >= MIN_LAST_ROWS;
    const pending = all.map(({ stream }) => stream.pending.length);
    const short = pending.reduce((sum, rows) => sum + (isLong(rows) ? 0 : rows), 0);
    let left = Math.max(MIN_LONG_ROWS, most - short);
    return pending.map((rows) => {
      const share = isLong(rows) ? Math.min(rows, left) : rows;
      if (isLong(rows)) left -= share;
      return share;
    });
  }

  /** The drafts of one more depth: the engine on its own hidden states, with the drafts as the next tokens. */
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

  async #call(rows: readonly DraftRow[], within: DraftsWithin): Promise<DraftResult | undefined> {
    const { engine, onFailure } = this.#options;
    try {
      return await engine.forward(rows, within);
    } catch (error) {
      onFailure(error);
      return undefined;
    }
  }

  /**
   * Takes the drafts after some nodes from the rows of the result from `firstRow` on, and chooses which of them to go on from.
   * Returns whether there are any.
   */
  #take(drafting: Drafting, parents: readonly number[], result: DraftResult, firstRow: number): boolean {
    const { onFailure } = this.#options;
    // 0 where the engine goes on from the token alone.
    const width = result.hidden.length / result.answers.length;
    const first = drafting.nodes.length;
    try {
      for (const [i, parent] of parents.entries()) {
        const row = firstRow + i;
        const hidden = result.hidden.subarray(row * width, (row + 1) * width);
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

/** Has the sequence go on without the engine. */
function giveUp(stream: DrafterStream): void {
  stream.failures = MAX_FAILURES;
  stream.pending = [];
}

function wantsMore({ sequence, frontier, depth }: Drafting, next: number): boolean {
  return !sequence.finished && frontier.length > 0 && next <= depth;
}

/** The engine's row that drafts on from a node, the `i`-th of its sequence's rows in the call. */
function rowOf(drafting: Drafting, node: number, i: number): DraftRow {
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
    isOwn: true,
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
  return draftsAfter(
    { sequence, isChain },
    pathOf(nodes, node).map(({ token }) => token),
  );
}

function draftsAfter(
  { sequence, isChain }: Pick<Drafting, 'sequence' | 'isChain'>,
  text: readonly number[],
): TokenQuery {
  return { token: sequence.sampling.params(text), topLogprobs: isChain ? 0 : ALTERNATIVES };
}

/** Tokens that are no token: nothing is changed for them. */
function unknownTokens(count: number): number[] {
  return Array.from({ length: count }, () => -1);
}

function countCall(drafting: readonly Drafting[]): void {
  for (const { sequence } of drafting) sequence.speculation?.countDraftCall();
}
