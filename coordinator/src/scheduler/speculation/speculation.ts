import { type ForwardResult, messageOf } from '@shoal/model';
import type { BatchEntry } from '../batch/batch.ts';
import type { PassCosts } from '../batch/pass-costs.ts';
import { GenerationError } from '../generation.ts';
import { type Grace, LateAnswer } from '../grace.ts';
import type { Sequence } from '../sequence.ts';
import { Acceptance } from './acceptance.ts';
import { Confidence } from './confidence.ts';
import { bestRate, chooseDepths, type DepthCost, type DepthStream } from './depth.ts';
import { chooseEngine, type EngineChoice } from './choose-engine.ts';
import { chain, NO_DRAFTS, pathTo } from './draft-tree.ts';
import type { Drafter, DraftRequest, DraftsWithin } from './drafter.ts';
import { DRAFTER_KINDS, type DraftKind } from './drafter-stream.ts';
import { RecentAnswers } from './recent-answers.ts';
import { chooseNodes, leastChance, type ShapeCost } from './shape.ts';
import { StepwiseDrafter } from './stepwise-drafter.ts';
import { StreamSpeculation } from './stream.ts';
import { newTextExperience, TextDrafter } from './text-drafter.ts';

export interface SpeculationOptions extends EngineChoice {
  costs: PassCosts;
  /** Drafts of one sequence in a pass at most. */
  maxDrafts: number;
  maxContext: number;
  /** Laps of a pass. */
  lapsPerPass: number;
  /** Prompt rows that the next pass takes at most beside that many decoding rows. */
  promptRowsBeside: (decodeRows: number) => number;
  /** A clock in milliseconds. */
  now: () => number;
  /** Called for the first drafting call that fails after one that succeeded. */
  onFailure?: ((error: unknown) => void) | undefined;
}

/** Drafts since start, by depth − 1. */
export interface DraftCounts {
  drafted: number[];
  accepted: number[];
}

/** Half-life of the acceptance over all sequences: 350 drafts. */
const ALL_STREAMS_DECAY = 0.998;
/** Expected of all other drafts before there is experience: they are tried, and soon given up if they fail. */
const PRIOR = 0.5;

/** How far ahead a model drafts while it is not known what a call of it costs. */
const FIRST_DEPTH = 4;
/** Where only drafts that are likelier than this are worth their rows, none is an alternative. */
const LEAST_OF_CHAINS = 0.5;
/** A pass grows at most by this factor over the largest recent one: far beyond it the cost of a row is not known. */
const GROWTH = 2;
/** So many rows are tried at once, if a row seems to be worth it. */
const FIRST_ROWS = 16;
/** Drafts of an answer with a constraint: each takes a mask, which may take 4 ms at a vocabulary of 151,936 (ADR 26). */
const MAX_CONSTRAINED = 16;

/** A sequence of the next pass, and where its drafts may come from. */
interface Candidate extends DepthStream {
  sequence: Sequence;
  state: StreamSpeculation;
  source: string;
  /** Nodes of its tree at most; `maxDrafts` is how far ahead. */
  limit: number;
  /** Tokens that may come yet, but for the last: its KV cache has room for so many drafts. */
  room: number;
  /** Drafts found in the text; undefined if the drafter is to make them. */
  found: readonly number[] | undefined;
}

/** What the next pass is to verify for one sequence. */
interface Chosen {
  candidate: Candidate;
  /** How far ahead drafts are made. */
  depth: number;
  /** How far they are verified even if that does not pay. */
  leastDepth: number;
}

/** The next pass's drafts, and what it costs and gives without those that the drafter is yet to make. */
interface Choice {
  bySequence: ReadonlyMap<Sequence, Chosen>;
  cost: ShapeCost;
}

/**
 * Speculative decoding: drafts of the next tokens go into a pass beside the last known one. Every right one saves a pass, and
 * with it one lap for each MoE layer. `chooseDepths` weighs how far ahead drafts pay, `chooseNodes` which of them; `verifyDrafts` keeps
 * the answer the same.
 */
export class Speculation {
  readonly counts = Object.fromEntries(
    [...DRAFTER_KINDS, 'lookup'].map((kind): [string, DraftCounts] => [kind, { drafted: [], accepted: [] }]),
  ) as Readonly<Record<DraftKind, DraftCounts>>;
  /** Drafting calls that failed. */
  failures = 0;
  readonly #options: SpeculationOptions;
  readonly #drafter: Drafter | undefined;
  readonly #experience = new Map<string, Acceptance>();
  readonly #confidence = new Confidence();
  readonly #recent = new RecentAnswers();
  #isFailing = false;

  constructor(options: SpeculationOptions) {
    this.#options = options;
    const engine = chooseEngine(options);
    if (!engine) return;
    const { costs, now } = options;
    const onFailure = (error: unknown): void => this.#failed(error);
    this.#drafter = new StepwiseDrafter({ engine, costs, now, confidence: this.#confidence, onFailure });
  }

  /** Bytes of the drafter's own KV cache for one more token of one sequence. */
  get kvBytesPerToken(): number {
    return this.#drafter?.kvBytesPerToken ?? 0;
  }

  /** What is kept of ended answers, in bytes. */
  get answersBytes(): number {
    return this.#recent.bytes;
  }

  /** Drafts of every kind and depth since start, and the right ones among them. */
  get totals(): { drafted: number; accepted: number } {
    const sum = (which: 'drafted' | 'accepted'): number =>
      Object.values(this.counts)
        .flatMap((counts) => counts[which])
        .reduce((all, count) => all + count, 0);
    return { drafted: sum('drafted'), accepted: sum('accepted') };
  }

  /** The speculation of a new sequence; undefined if nothing is to be drafted for it. */
  begin(sequence: Sequence): StreamSpeculation | undefined {
    const { mode, lapsPerPass } = this.#options;
    if (mode === 'off' || sequence.request.speculate === false) return undefined;
    return new StreamSpeculation({
      text: this.#textsFor(sequence),
      lapsPerPass,
      prior: (source) => (depth) => this.#experienceOf(source).rate(depth),
      drafter: this.#drafter,
    });
  }

  /** Drops the answers of scopes that are not to be kept (`GenerationRequest.cacheScope`). */
  keepAnswersOf(isKept: (scope: string) => boolean): void {
    this.#recent.keepOnly(isKept);
  }

  /** Takes note of which drafts of the entry were right. */
  judge({ sequence, drafts, accepted }: BatchEntry): void {
    const state = sequence.speculation;
    if (!state) return;
    const last = accepted.at(-1) ?? -1;
    // One of the drafts after each right one was right, up to the last: none of those after it was.
    const tried = accepted.length + Number(drafts.parents.includes(last));
    // Drafts from texts are judged by their drafter.
    if (state.kind !== 'lookup') {
      // Only for this sequence: others' drafts need not fit its constraint.
      state.acceptance(state.source).judge(tried + state.refused, accepted.length);
      this.#experienceOf(state.source).judge(tried, accepted.length);
    }
    const right = new Set(accepted);
    const counts = this.counts[state.kind];
    for (const [node, parent] of drafts.parents.entries()) {
      const depth = pathTo(drafts, node).length;
      counts.drafted[depth - 1] = (counts.drafted[depth - 1] ?? 0) + 1;
      counts.accepted[depth - 1] = (counts.accepted[depth - 1] ?? 0) + Number(right.has(node));
      // What comes after an answer's end is not known.
      const isJudged = parent === last ? !sequence.finished : parent < 0 || right.has(parent);
      const kind = state.kinds[node];
      if (isJudged && kind !== undefined) this.#confidence.judge(kind, right.has(node));
    }
  }

  /** Makes the drafts for the next pass. Never throws: if anything fails, sequences go on without drafts. */
  async prepare(entries: readonly BatchEntry[], result: ForwardResult, within: DraftsWithin = {}): Promise<void> {
    try {
      await this.#prepare(entries, result, within);
    } catch (error) {
      this.#failed(error);
      for (const { sequence } of entries) sequence.speculation = undefined;
    }
  }

  async #prepare(entries: readonly BatchEntry[], result: ForwardResult, within: DraftsWithin): Promise<void> {
    for (const entry of entries) {
      const { speculation: state } = entry.sequence;
      const stream = state?.drafterStream;
      if (!stream) continue;
      this.#drafter!.note(entry, result, stream);
      if (this.#drafter!.hasGivenUp(stream)) state.drafterStream = undefined;
    }
    const sequences = entries.map(({ sequence }) => sequence);
    const choice = this.#choose(sequences);
    const worth = leastChance(choice.cost);
    const requests: DraftRequest[] = [];
    for (const sequence of sequences) {
      const { speculation: state } = sequence;
      if (!state) continue;
      const { candidate, depth = 0, leastDepth = 0 } = choice.bySequence.get(sequence) ?? {};
      state.drafts = candidate?.found ? chain(candidate.found.slice(0, depth)) : NO_DRAFTS;
      state.kinds = [];
      state.refused = 0;
      state.kind = candidate && !candidate.found ? this.#drafter!.kind : 'lookup';
      state.source = candidate?.source ?? state.source;
      const stream = state.drafterStream;
      const wanted = stream && !candidate?.found ? depth : 0;
      if (stream && (wanted > 0 || this.#drafter!.isDue(sequence, stream)))
        requests.push({
          sequence,
          stream,
          depth: wanted,
          leastDepth,
          worth,
          room: candidate?.room ?? 0,
          // A mask is asked for after each draft of one text. And alternatives are hardly ever as likely as that.
          isChain: sequence.constraint !== undefined || worth >= LEAST_OF_CHAINS,
        });
    }
    if (requests.length > 0) await this.#draft(requests, choice, within);
    await Promise.all(sequences.map((sequence) => cutToAllowed(sequence, within.grace)));
  }

  async #draft(requests: readonly DraftRequest[], { bySequence, cost }: Choice, within: DraftsWithin): Promise<void> {
    const failuresBefore = this.failures;
    const possible = await this.#drafter!.draft(requests, within);
    if (this.failures === failuresBefore) this.#isFailing = false;
    const drafting = requests.filter(({ depth }) => depth > 0);
    const streams = drafting.map(({ sequence }) => {
      const { candidate, leastDepth } = bySequence.get(sequence)!;
      return { drafts: possible.get(sequence)!, limit: candidate.limit, leastDepth };
    });
    for (const [i, { tokens, parents, kinds }] of chooseNodes(streams, cost).entries()) {
      const state = drafting[i]!.sequence.speculation!;
      state.drafts = { tokens, parents };
      state.kinds = kinds;
    }
    for (const { sequence, stream } of requests) {
      if (this.#drafter!.hasGivenUp(stream)) sequence.speculation!.drafterStream = undefined;
    }
  }

  /** How far ahead each sequence is drafted, and by what. */
  #choose(sequences: readonly Sequence[]): Choice {
    const { costs, promptRowsBeside } = this.#options;
    const live = sequences.filter(({ finished }) => !finished);
    const prompts = live.filter(({ state }) => state === 'prefill');
    const promptRows = prompts.reduce((sum, { cache, ids }) => sum + ids.length - cache!.length, 0);
    const decodeRows = live.length - prompts.length;
    const baseRows = decodeRows + Math.min(promptRowsBeside(decodeRows), promptRows);
    const cost = {
      passMs: costs.passMs(baseRows),
      msPerRow: costs.rowMs,
      draftMs: (depth: number): number => costs.draftMs(depth),
      room: Math.max(0, Math.max(FIRST_ROWS, GROWTH * costs.mostDecodeRows) - decodeRows),
    };
    const candidates = live.flatMap((sequence) => this.#candidate(sequence, partOf(cost, decodeRows)) ?? []);
    const usesDrafter = candidates.some(({ found }) => !found);
    const depths = chooseDepths(candidates, usesDrafter ? cost : { ...cost, draftMs: () => 0 });
    const chosen = candidates.map((candidate, i): Chosen => {
      const depth = candidate.state.probed(depths[i]!, candidate.maxDrafts, costs.isRowGuess);
      return { candidate, depth, leastDepth: depth > depths[i]! ? depth : 0 };
    });
    return {
      bySequence: new Map(chosen.map((each) => [each.candidate.sequence, each])),
      cost: shapeCost(chosen, cost),
    };
  }

  /** What is to draft for a sequence: of the drafter and the texts, that which promises more at this cost. */
  #candidate(sequence: Sequence, cost: DepthCost): Candidate | undefined {
    const { speculation: state, request, ids } = sequence;
    // Each draft's mask takes a slow constraint as long again.
    if (!state || sequence.state !== 'decode' || sequence.constraint?.isSlow) return undefined;
    const { mode, maxContext, maxDrafts, costs } = this.#options;
    // The last token that may come needs no draft: it is drawn from the row before it.
    const end = Math.min(request.promptIds.length + request.maxTokens, maxContext);
    const room = end - ids.length - 1;
    const most = Math.min(sequence.constraint ? MAX_CONSTRAINED : maxDrafts, maxDrafts, room);
    if (most <= 0) return undefined;
    const source = this.#drafter?.kind ?? '';
    const drafted: Candidate | undefined = state.drafterStream && {
      sequence,
      state,
      source,
      limit: most,
      room,
      maxDrafts: costs.draftMs(2) > 0 ? most : Math.min(FIRST_DEPTH, most),
      reach: (depth) => state.acceptance(source).reach(depth),
      found: undefined,
    };
    const text = drafted && mode === 'mtp' ? undefined : candidateFromText(sequence, state, most);
    if (!drafted || !text) return drafted ?? text;
    return bestRate(text, { ...cost, draftMs: () => 0 }) >= bestRate(drafted, cost) ? text : drafted;
  }

  /** Where no answer is to be drafted from texts, none is kept for it. */
  #textsFor(sequence: Sequence): TextDrafter {
    const { ids, request } = sequence;
    if (this.#options.mode === 'mtp') return new TextDrafter(ids, newTextExperience());
    const answers = this.#recent.of(request.cacheScope ?? '');
    sequence.whenEnded(() => answers.add(ids, request.promptIds.length));
    return new TextDrafter(ids, answers.experience, answers.index);
  }

  #experienceOf(source: string): Acceptance {
    let found = this.#experience.get(source);
    if (!found) {
      const first = source === this.#drafter?.kind ? this.#drafter.firstPrior : PRIOR;
      const prior = (depth: number): number => (depth === 1 ? first : PRIOR);
      this.#experience.set(source, (found = new Acceptance(prior, ALL_STREAMS_DECAY)));
    }
    return found;
  }

  #failed(error: unknown): void {
    this.failures++;
    if (!this.#isFailing) this.#options.onFailure?.(error);
    this.#isFailing = true;
  }
}

/** What the next pass costs and gives without the drafts that the drafter is to make, but with the time of making them. */
function shapeCost(chosen: readonly Chosen[], { passMs, msPerRow, draftMs, room = 0 }: DepthCost): ShapeCost {
  const cost = { passMs, msPerRow, tokens: chosen.length, room };
  let deepest = 0;
  for (const { candidate, depth } of chosen) {
    if (!candidate.found) {
      deepest = Math.max(deepest, depth);
      continue;
    }
    cost.passMs += depth * msPerRow;
    cost.room -= depth;
    for (let d = 1; d <= depth; d++) cost.tokens += candidate.reach(d);
  }
  for (let depth = 1; depth <= deepest; depth++) cost.passMs += draftMs(depth);
  return cost;
}

/** One stream's part of what a pass of several costs. */
function partOf({ passMs, msPerRow, draftMs }: DepthCost, streams: number): DepthCost {
  return { passMs: passMs / streams, msPerRow, draftMs: (depth) => draftMs(depth) / streams };
}

function candidateFromText(sequence: Sequence, state: StreamSpeculation, most: number): Candidate | undefined {
  const match = state.findInText(most);
  if (!match) return undefined;
  const cut = match.drafts.findIndex((id) => sequence.sampling.ends.has(id));
  const found = cut < 0 ? match.drafts : match.drafts.slice(0, cut);
  const reach = (depth: number): number => match.reach[depth - 1]!;
  return {
    sequence,
    state,
    source: 'lookup',
    limit: found.length,
    room: found.length,
    maxDrafts: found.length,
    reach,
    found,
  };
}

/**
 * Drops the drafts that the sequence's constraint does not allow, before they cost rows; all, if it is late. Never rejects.
 */
async function cutToAllowed(sequence: Sequence, grace: Grace | undefined): Promise<void> {
  const { speculation: state, constraint } = sequence;
  if (!state || !constraint || state.drafts.tokens.length === 0 || sequence.finished) return;
  const { tokens } = state.drafts;
  try {
    const answer = constraint.allowedDrafts(tokens);
    grace?.begin();
    const allowed = await (grace?.limit(answer) ?? answer);
    state.refused = allowed < tokens.length ? 1 : 0;
    state.drafts = chain(tokens.slice(0, allowed));
  } catch (error) {
    state.drafts = NO_DRAFTS;
    if (error instanceof LateAnswer) return constraint.wasLate();
    sequence.fail(error instanceof GenerationError ? error : new GenerationError('internal', messageOf(error)));
  }
}
