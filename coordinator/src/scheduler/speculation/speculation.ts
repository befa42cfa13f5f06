import { type ExpertDispatch, type ForwardEngine, type ForwardResult, messageOf } from '@shoal/model';
import type { BatchOptions } from '../../laps/dispatcher.ts';
import { UsageError } from '../../base/usage-error.ts';
import type { Config } from '../../config.ts';
import type { BatchEntry } from '../batch/batch.ts';
import type { PassCosts } from '../batch/pass-costs.ts';
import { GenerationError } from '../generation.ts';
import { type Grace, LateAnswer } from '../grace.ts';
import type { Sequence } from '../sequence.ts';
import { Acceptance } from './acceptance.ts';
import { bestRate, chooseDepths, type DepthCost, type DepthStream } from './depth.ts';
import { type DraftsWithin, MtpDrafter, type MtpRequest } from './mtp-drafter.ts';
import { RecentAnswers } from './recent-answers.ts';
import { type DraftKind, StreamSpeculation } from './stream.ts';
import { newTextExperience, TextDrafter } from './text-drafter.ts';

export interface SpeculationOptions {
  forward: ForwardEngine;
  experts: { batch(options?: BatchOptions): ExpertDispatch };
  costs: PassCosts;
  mode: Config['speculate'];
  /** Drafts of one sequence in a pass at most. */
  maxDrafts: number;
  /** Whether the MTP module's experts are held anywhere. */
  hasMtpExperts: boolean;
  maxContext: number;
  /** Laps of a pass. */
  lapsPerPass: number;
  /** Laps of a call of the MTP module: 1 if tabs hold its experts, else 0. */
  lapsPerDraft: number;
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
/** DeepSeek-V3's own module is right in 85 to 90 % of first drafts (paper §5.4.3). */
const MTP_FIRST_PRIOR = 0.85;
/** Expected of all other drafts before there is experience: they are tried, and soon given up if they fail. */
const PRIOR = 0.5;

/** Each draft of the MTP module is a call, and those far ahead are hardly ever right. */
const MAX_MTP_DRAFTS = 8;
/** Drafts of an answer with a constraint: each takes a mask, which may take 4 ms at a vocabulary of 151,936 (ADR 26). */
const MAX_CONSTRAINED = 16;

/** A sequence of the next pass, and where its drafts may come from. */
interface Candidate extends DepthStream {
  sequence: Sequence;
  state: StreamSpeculation;
  source: string;
  /** Drafts found in the text; undefined if the MTP module is to make them. */
  found: readonly number[] | undefined;
}

/**
 * Speculative decoding: drafts of the next tokens go into a pass beside the last known one. Every right one saves a pass, and
 * with it one lap for each MoE layer. `chooseDepths` weighs how many pay; `verifyDrafts` keeps the answer the same.
 */
export class Speculation {
  readonly counts: Readonly<Record<DraftKind, DraftCounts>> = {
    mtp: { drafted: [], accepted: [] },
    lookup: { drafted: [], accepted: [] },
  };
  /** Drafting calls that failed. */
  failures = 0;
  readonly #options: SpeculationOptions;
  readonly #mtp: MtpDrafter | undefined;
  readonly #experience = new Map<string, Acceptance>();
  readonly #recent = new RecentAnswers();
  #isFailing = false;

  constructor(options: SpeculationOptions) {
    this.#options = options;
    const { forward, mode, hasMtpExperts } = options;
    if (mode !== 'auto' && mode !== 'mtp') return;
    if (forward.config.numNextnPredictLayers > 0 && hasMtpExperts) {
      this.#mtp = new MtpDrafter({ ...options, onFailure: (error) => this.#failed(error) });
    } else if (mode === 'mtp') {
      const lacks = hasMtpExperts ? 'the model has no MTP module' : '--mtp-experts off leaves it without experts';
      throw new UsageError(`--speculate mtp: ${lacks}; use auto, lookup or off`);
    }
  }

  /** Bytes of the drafter's own KV cache for one more token of one sequence. */
  get kvBytesPerToken(): number {
    return this.#mtp ? this.#options.forward.mtpKvBytesPerToken : 0;
  }

  /** What is kept of ended answers, in bytes. */
  get answersBytes(): number {
    return this.#recent.bytes;
  }

  /** Drafts of every kind and depth since start, and the right ones among them. */
  get totals(): { drafted: number; accepted: number } {
    const sum = (which: 'drafted' | 'accepted'): number =>
      [...this.counts.mtp[which], ...this.counts.lookup[which]].reduce((all, count) => all + count, 0);
    return { drafted: sum('drafted'), accepted: sum('accepted') };
  }

  /** The speculation of a new sequence; undefined if nothing is to be drafted for it. */
  begin(sequence: Sequence): StreamSpeculation | undefined {
    const { mode, lapsPerPass, lapsPerDraft } = this.#options;
    if (mode === 'off' || sequence.request.speculate === false) return undefined;
    return new StreamSpeculation({
      text: this.#textsFor(sequence),
      lapsPerPass,
      lapsPerDraft,
      prior: (source) => (depth) => this.#experienceOf(source).rate(depth),
      mtp: this.#mtp && { cache: undefined, pending: [], failures: 0 },
    });
  }

  /** Drops the answers of scopes that are not to be kept (`GenerationRequest.cacheScope`). */
  keepAnswersOf(isKept: (scope: string) => boolean): void {
    this.#recent.keepOnly(isKept);
  }

  /** Takes note that the first `accepted` drafts of the entry were right. */
  judge({ sequence, drafts }: BatchEntry, accepted: number): void {
    const state = sequence.speculation;
    if (!state) return;
    // Drafts from texts are judged by their drafter.
    if (state.kind === 'mtp') {
      // Only for this sequence: others' drafts need not fit its constraint.
      state.acceptance(state.source).judge(drafts.length + state.refused, accepted);
      this.#experienceOf(state.source).judge(drafts.length, accepted);
    }
    const { drafted, accepted: right } = this.counts[state.kind];
    for (let i = 0; i < drafts.length; i++) {
      drafted[i] = (drafted[i] ?? 0) + 1;
      right[i] = (right[i] ?? 0) + (i < accepted ? 1 : 0);
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
      if (state?.mtp) this.#mtp!.note(entry, result, state.mtp);
    }
    const sequences = entries.map(({ sequence }) => sequence);
    const depths = this.#depths(sequences);
    const requests: MtpRequest[] = [];
    for (const sequence of sequences) {
      const { speculation: state } = sequence;
      if (!state) continue;
      const { candidate, depth = 0 } = depths.get(sequence) ?? {};
      state.drafts = candidate?.found?.slice(0, depth) ?? [];
      state.refused = 0;
      state.kind = candidate?.found ? 'lookup' : 'mtp';
      state.source = candidate?.source ?? state.source;
      const wanted = state.mtp && !candidate?.found ? depth : 0;
      if (state.mtp && (wanted > 0 || this.#mtp!.isDue(sequence, state.mtp)))
        requests.push({ sequence, stream: state.mtp, depth: wanted });
    }
    if (requests.length > 0) await this.#draft(requests, within);
    await Promise.all(sequences.map((sequence) => cutToAllowed(sequence, within.grace)));
  }

  async #draft(requests: readonly MtpRequest[], within: DraftsWithin): Promise<void> {
    const failuresBefore = this.failures;
    const drafts = await this.#mtp!.draft(requests, within);
    if (this.failures === failuresBefore) this.#isFailing = false;
    for (const { sequence, stream, depth } of requests) {
      const state = sequence.speculation!;
      if (depth > 0) state.drafts = drafts.get(sequence)!;
      if (this.#mtp!.hasGivenUp(stream)) state.mtp = undefined;
    }
  }

  /** The number of drafts for each sequence, and where they come from. */
  #depths(sequences: readonly Sequence[]): Map<Sequence, { candidate: Candidate; depth: number }> {
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
    };
    const candidates = live.flatMap((sequence) => this.#candidate(sequence, partOf(cost, decodeRows)) ?? []);
    const usesMtp = candidates.some(({ found }) => !found);
    const depths = chooseDepths(candidates, usesMtp ? cost : { ...cost, draftMs: () => 0 });
    return new Map(
      candidates.map((candidate, i) => {
        const depth = candidate.state.probed(depths[i]!, candidate.maxDrafts, costs.isRowGuess);
        return [candidate.sequence, { candidate, depth }];
      }),
    );
  }

  /** What is to draft for a sequence: of the MTP module and the texts, that which promises more at this cost. */
  #candidate(sequence: Sequence, cost: DepthCost): Candidate | undefined {
    const { speculation: state, request, ids } = sequence;
    // Each draft's mask takes a slow constraint as long again.
    if (!state || sequence.state !== 'decode' || sequence.constraint?.isSlow) return undefined;
    const { mode, maxContext, maxDrafts } = this.#options;
    // The last token that may come needs no draft: it is drawn from the row before it.
    const end = Math.min(request.promptIds.length + request.maxTokens, maxContext);
    const most = Math.min(sequence.constraint ? MAX_CONSTRAINED : maxDrafts, maxDrafts, end - ids.length - 1);
    if (most <= 0) return undefined;
    const mtp: Candidate | undefined = state.mtp && {
      sequence,
      state,
      source: 'mtp',
      maxDrafts: Math.min(most, MAX_MTP_DRAFTS),
      reach: (depth) => state.acceptance('mtp').reach(depth),
      found: undefined,
    };
    const text = mtp && mode === 'mtp' ? undefined : candidateFromText(sequence, state, most);
    if (!mtp || !text) return mtp ?? text;
    return bestRate(text, { ...cost, draftMs: () => 0 }) >= bestRate(mtp, cost) ? text : mtp;
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
      const prior = (depth: number): number => (source === 'mtp' && depth === 1 ? MTP_FIRST_PRIOR : PRIOR);
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
  return { sequence, state, source: 'lookup', maxDrafts: found.length, reach, found };
}

/**
 * Drops the drafts that the sequence's constraint does not allow, before they cost rows; all, if it is late. Never rejects.
 */
async function cutToAllowed(sequence: Sequence, grace: Grace | undefined): Promise<void> {
  const { speculation: state, constraint } = sequence;
  if (!state || !constraint || state.drafts.length === 0 || sequence.finished) return;
  try {
    const answer = constraint.allowedDrafts(state.drafts);
    grace?.begin();
    const allowed = await (grace?.limit(answer) ?? answer);
    state.refused = allowed < state.drafts.length ? 1 : 0;
    state.drafts = state.drafts.slice(0, allowed);
  } catch (error) {
    state.drafts = [];
    if (error instanceof LateAnswer) return constraint.wasLate();
    sequence.fail(error instanceof GenerationError ? error : new GenerationError('internal', messageOf(error)));
  }
}
