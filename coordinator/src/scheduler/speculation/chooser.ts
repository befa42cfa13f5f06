import type { PassCosts } from '../batch/pass-costs.ts';
import type { Sequence } from '../sequence.ts';
import { bestRate, chooseDepths, type DepthCost, type DepthStream } from './depth.ts';
import { type Acceptance, reachOf } from './acceptance.ts';
import type { DraftEngine } from './drafter.ts';
import type { ShapeCost } from './shape.ts';
import type { StreamSpeculation } from './stream.ts';

/** How far ahead a model drafts while it is not known what a call of it costs. */
const FIRST_DEPTH = 4;
/** A pass grows at most by this factor over the largest recent one: far beyond it the cost of a row is not known. */
const GROWTH = 2;
/** So many rows are tried at once, if a row seems to be worth it. */
const FIRST_ROWS = 16;
/** Trying drafts that are not expected to pay takes at most this share of the time. */
const PROBE_SHARE = 0.01;
/** Drafts of an answer with a constraint: each takes a mask, which may take 4 ms at a vocabulary of 151,936 (ADR 26). */
const MAX_CONSTRAINED = 16;

/** A sequence of the next pass, and where its drafts may come from. */
export interface Candidate extends DepthStream {
  sequence: Sequence;
  state: StreamSpeculation;
  /** Nodes of its tree at most; `maxDrafts` is how far ahead. */
  limit: number;
  /** Tokens that may come yet, but for the last: its KV cache has room for so many drafts. */
  room: number;
  /** Drafts found in the text; undefined if the drafter is to make them. */
  found: readonly number[] | undefined;
}

/** What the next pass is to verify for one sequence. */
export interface Chosen {
  candidate: Candidate;
  /** How far ahead drafts are made. */
  depth: number;
  /** How far they are verified even if that does not pay. */
  leastDepth: number;
}

/** The next pass's drafts, and what it costs and gives without those that the drafter is yet to make. */
export interface Choice {
  bySequence: ReadonlyMap<Sequence, Chosen>;
  cost: ShapeCost;
  /** How likely a draft must be to be drafted on from. */
  worth: number;
}

/** Decides what a pass verifies beside the last known token of each of its sequences. */
export interface DraftChooser {
  choose(sequences: readonly Sequence[]): Choice;
}

export interface ChooserOptions {
  costs: PassCosts;
  /** Whether only the drafter is to draft. */
  isWithoutTexts: boolean;
  /** The model that drafts, if one does. */
  drafter: Pick<DraftEngine, 'firstPrior' | 'mostDepth'> | undefined;
  /** How often its drafts are right, over all streams. */
  experience: Acceptance;
  /** Drafts of one sequence in a pass at most. */
  maxDrafts: number;
  maxContext: number;
  /** Prompt rows that the next pass takes at most beside that many decoding rows. */
  promptRowsBeside: (decodeRows: number) => number;
}

/** Chooses by measured acceptance and cost. */
export class Chooser implements DraftChooser {
  readonly #options: ChooserOptions;
  /** Time that may be spent on trying further drafts; negative where some was spent ahead. */
  #creditMs = 0;

  constructor(options: ChooserOptions) {
    this.#options = options;
  }

  /** How far ahead each sequence is drafted, and by what. */
  choose(sequences: readonly Sequence[]): Choice {
    const { costs, promptRowsBeside } = this.#options;
    const live = sequences.filter(({ finished }) => !finished);
    const prompts = live.filter(({ state }) => state === 'prefill');
    const promptRows = prompts.reduce((sum, { cache, ids }) => sum + ids.length - cache!.length, 0);
    const decodeRows = live.length - prompts.length;
    const baseRows = decodeRows + Math.min(promptRowsBeside(decodeRows), promptRows);
    // Asked for once: many streams ask for the costs of many depths, and what each takes is a median anew.
    const [first, deeper] = [costs.draftCall(1), costs.draftCall(2)];
    const callOf = (depth: number): typeof first => (depth === 1 ? first : deeper);
    const cost: DepthCost & { room: number } = {
      passMs: costs.shareMs(baseRows),
      msPerRow: costs.rowMs,
      callMs: (depth) => callOf(depth).ms,
      msPerDraft: (depth) => callOf(depth).msPerStream,
      room: Math.max(0, Math.max(FIRST_ROWS, GROWTH * costs.mostDecodeRows) - decodeRows),
    };
    const part = partOf(cost, decodeRows);
    const { drafter, experience, maxDrafts } = this.#options;
    // What was seen of the first depths is expected of the later ones too, until they are seen.
    const rates = drafter ? experience.ratesFrom(drafter.firstPrior, maxDrafts) : [];
    const candidates = live.flatMap((sequence) => this.#candidate(sequence, part, rates) ?? []);
    const { depths, tokensPerMs } = chooseDepths(candidates, cost);
    this.#creditMs = Math.min(PROBE_SHARE * cost.passMs, this.#creditMs + PROBE_SHARE * cost.passMs);
    const chosen = candidates.map((candidate, i): Chosen => {
      const depth = this.#probed(candidate, depths[i]!, cost);
      return { candidate, depth, leastDepth: depth > depths[i]! ? depth : 0 };
    });
    return {
      bySequence: new Map(chosen.map((each) => [each.candidate.sequence, each])),
      cost: shapeCost(chosen, cost),
      // What comes of a draft takes a row in the next call, and a row in the pass.
      worth: cost.passMs > 0 ? tokensPerMs * (cost.msPerRow + deeper.msPerRow) : 0,
    };
  }

  /** The depth to try where `depth` is expected to pay best. Trying takes a small share of the time, of all sequences together. */
  #probed(
    { state, isDrafted, maxDrafts }: Candidate,
    depth: number,
    { msPerRow, callMs, msPerDraft }: DepthCost,
  ): number {
    const pending = isDrafted ? 0 : state.drafterStream!.pending.length;
    const ms = msPerRow + (isDrafted ? 0 : callMs(depth + 1) + pending * msPerDraft(depth + 1));
    const { isRowGuess } = this.#options.costs;
    const probed = state.probed(depth, maxDrafts, { isGuess: isRowGuess, isAffordable: this.#creditMs >= 0 });
    if (probed > depth && !isRowGuess) this.#creditMs -= ms;
    return probed;
  }

  /** What is to draft for a sequence: of the drafter and the texts, that which promises more at this cost. */
  #candidate(sequence: Sequence, cost: DepthCost, rates: readonly number[]): Candidate | undefined {
    const { speculation: state } = sequence;
    // Each draft's mask takes a slow constraint as long again.
    if (!state || sequence.state !== 'decode' || sequence.constraint?.isSlow) return undefined;
    const { isWithoutTexts, maxContext, maxDrafts, costs, drafter } = this.#options;
    const room = roomOf(sequence, maxContext);
    const most = Math.min(sequence.constraint ? MAX_CONSTRAINED : maxDrafts, maxDrafts, room);
    if (most <= 0) return undefined;
    const isDrafting = state.drafterStream !== undefined && sequence.ids.length >= state.drafterStream.pausedUntil;
    const reach = isDrafting ? reachOf(state.acceptance.rates(rates)) : [];
    const drafted: Candidate | undefined = isDrafting
      ? {
          sequence,
          state,
          isDrafted: false,
          limit: most,
          room,
          maxDrafts: Math.min(most, drafter?.mostDepth ?? most, costs.isDraftCallKnown ? most : FIRST_DEPTH),
          reach: (depth) => reach[depth - 1]!,
          found: undefined,
        }
      : undefined;
    const text = drafted && isWithoutTexts ? undefined : candidateFromText(sequence, state, most);
    if (!drafted || !text) return drafted ?? text;
    return bestRate(text, cost) >= bestRate(drafted, cost) ? text : drafted;
  }
}

/** The drafts that a sequence has a use for: the last token that may come is drawn from the row before it. */
export function roomOf({ request, ids }: Sequence, maxContext: number): number {
  return Math.min(request.promptIds.length + request.maxTokens, maxContext) - ids.length - 1;
}

/** What the next pass costs and gives without the drafts that the drafter is to make, but with the time of making them. */
function shapeCost(
  chosen: readonly Chosen[],
  { passMs, msPerRow, callMs, msPerDraft, room = 0 }: DepthCost,
): ShapeCost {
  const cost = { passMs, msPerRow, tokens: chosen.length, room };
  let deepest = 0;
  for (const { candidate, depth } of chosen) {
    if (!candidate.found) {
      deepest = Math.max(deepest, depth);
      for (let d = 1; d <= depth; d++) cost.passMs += msPerDraft(d);
      continue;
    }
    cost.passMs += depth * msPerRow;
    cost.room -= depth;
    for (let d = 1; d <= depth; d++) cost.tokens += candidate.reach(d);
  }
  for (let depth = 1; depth <= deepest; depth++) cost.passMs += callMs(depth);
  return cost;
}

/** One stream's part of what a pass of several costs. */
function partOf({ passMs, msPerRow, callMs, msPerDraft }: DepthCost, streams: number): DepthCost {
  return { passMs: passMs / streams, msPerRow, callMs: (depth) => callMs(depth) / streams, msPerDraft };
}

/** Drafts that were found in a text; undefined if its end is new. */
export function candidateFromText(sequence: Sequence, state: StreamSpeculation, most: number): Candidate | undefined {
  const match = state.findInText(most);
  if (!match) return undefined;
  const cut = match.drafts.findIndex((id) => sequence.sampling.ends.has(id));
  const found = cut < 0 ? match.drafts : match.drafts.slice(0, cut);
  const reach = (depth: number): number => match.reach[depth - 1]!;
  return {
    sequence,
    state,
    limit: found.length,
    room: found.length,
    maxDrafts: found.length,
    isDrafted: true,
    reach,
    found,
  };
}
