import { type ForwardResult, messageOf } from '@shoal/model';
import type { BatchEntry } from '../batch/batch.ts';
import type { PassCosts } from '../batch/pass-costs.ts';
import { GenerationError } from '../generation.ts';
import { type Grace, LateAnswer } from '../grace.ts';
import type { Sequence } from '../sequence.ts';
import { Acceptance } from './acceptance.ts';
import { Confidence } from './confidence.ts';
import { type Choice, Chooser, type DraftChooser } from './chooser.ts';
import { chooseEngine, type EngineChoice } from './choose-engine.ts';
import { chain, NO_DRAFTS, pathTo } from './draft-tree.ts';
import type { Drafter, DraftRequest, DraftsWithin } from './drafter.ts';
import { DRAFTER_KINDS, type DraftKind } from './drafter-stream.ts';
import { RecentAnswers } from './recent-answers.ts';
import { chooseNodes, type PossibleDrafts } from './shape.ts';
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
  /** Decides what is drafted; by measured acceptance and cost by default. */
  chooser?: DraftChooser | undefined;
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
/** Where only drafts that are likelier than this are worth their rows, none is an alternative. */
const LEAST_OF_CHAINS = 0.5;
/** After so many tokens of all sequences for which the drafter's drafts did not pay, prompts are not computed for it either. */
const IDLE_TOKENS = 256;

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
  readonly #chooser: DraftChooser;
  readonly #experience = new Acceptance(ALL_STREAMS_DECAY);
  readonly #confidence = new Confidence();
  readonly #recent = new RecentAnswers();
  #isFailing = false;
  /** Tokens since drafts of the drafter were last wanted. */
  #unwanted = 0;

  constructor(options: SpeculationOptions) {
    this.#options = options;
    const { costs, now, mode } = options;
    const engine = chooseEngine(options);
    const onFailure = (error: unknown): void => this.#failed(error);
    this.#drafter = engine && new StepwiseDrafter({ engine, costs, now, confidence: this.#confidence, onFailure });
    this.#chooser =
      options.chooser ??
      new Chooser({ ...options, isWithoutTexts: mode === 'mtp', drafter: engine, experience: this.#experience });
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
      drafter: this.#drafter,
    });
  }

  /** Drops the answers of scopes that are not to be kept (`GenerationRequest.cacheScope`). */
  keepAnswersOf(isKept: (scope: string) => boolean): void {
    this.#recent.keepOnly(isKept);
  }

  /** Takes note of which drafts of the entry were right. */
  judge(entry: BatchEntry): void {
    const { sequence, drafts, accepted } = entry;
    const state = sequence.speculation;
    if (!state) return;
    const right = new Set(accepted);
    const counts = this.counts[state.kind];
    for (const node of drafts.parents.keys()) {
      const depth = pathTo(drafts, node).length;
      counts.drafted[depth - 1] = (counts.drafted[depth - 1] ?? 0) + 1;
      counts.accepted[depth - 1] = (counts.accepted[depth - 1] ?? 0) + Number(right.has(node));
    }
    // Drafts from texts are judged by their drafter.
    if (state.kind === 'lookup') return;
    const last = accepted.at(-1) ?? -1;
    // One of the drafts after each right one was right, up to the last: none of those after it was.
    const tried = accepted.length + Number(drafts.parents.includes(last));
    // Only for this sequence: others' drafts need not fit its constraint.
    state.acceptance.judge(tried + state.refused, accepted.length);
    this.#experience.judge(tried, accepted.length);
    if (state.possible && !sequence.constraint) this.#judgePossible(entry, state.possible);
  }

  /** Compares all drafts that were made with what has come, whether or not they were worth a row. */
  #judgePossible(
    { sequence, numRows, startLength, drafts }: BatchEntry,
    { tokens, parents, kinds }: PossibleDrafts,
  ): void {
    let at = -1;
    for (let position = startLength + numRows - drafts.tokens.length; position < sequence.ids.length; position++) {
      let next: number | undefined;
      for (const [node, parent] of parents.entries()) {
        if (parent !== at) continue;
        const isRight = tokens[node] === sequence.ids[position];
        this.#confidence.judge(kinds[node]!, isRight);
        if (isRight) next = node;
      }
      if (next === undefined) return;
      at = next;
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
      stream.isIdle = this.#unwanted >= IDLE_TOKENS;
      this.#drafter!.note(entry, result, stream);
      if (this.#drafter!.hasGivenUp(stream)) state.drafterStream = undefined;
    }
    const sequences = entries.map(({ sequence }) => sequence);
    const choice = this.#chooser.choose(sequences);
    const { worth } = choice;
    this.#countUnwanted(entries, choice);
    const requests: DraftRequest[] = [];
    for (const sequence of sequences) {
      const { speculation: state } = sequence;
      if (!state) continue;
      const { candidate, depth = 0, leastDepth = 0 } = choice.bySequence.get(sequence) ?? {};
      state.drafts = candidate?.found ? chain(candidate.found.slice(0, depth)) : NO_DRAFTS;
      state.possible = undefined;
      state.refused = 0;
      state.kind = candidate && !candidate.found ? this.#drafter!.kind : 'lookup';
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

  /** Counts tokens for which the drafter has not been asked by any sequence, except to try. */
  #countUnwanted(entries: readonly BatchEntry[], { bySequence }: Choice): void {
    const isWanted = [...bySequence.values()].some(
      ({ candidate, depth, leastDepth }) => !candidate.isDrafted && depth > 0 && leastDepth !== 1,
    );
    const tokens = entries.reduce((sum, { accepted }) => sum + 1 + accepted.length, 0);
    this.#unwanted = isWanted ? 0 : this.#unwanted + tokens;
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
    for (const [i, { tokens, parents }] of chooseNodes(streams, cost).entries()) {
      const state = drafting[i]!.sequence.speculation!;
      state.drafts = { tokens, parents };
      state.possible = streams[i]!.drafts;
    }
    for (const { sequence, stream } of requests) {
      if (this.#drafter!.hasGivenUp(stream)) sequence.speculation!.drafterStream = undefined;
    }
  }

  /** Where no answer is to be drafted from texts, none is kept for it. */
  #textsFor(sequence: Sequence): TextDrafter {
    const { ids, request } = sequence;
    if (this.#options.mode === 'mtp') return new TextDrafter(ids, newTextExperience());
    const answers = this.#recent.of(request.cacheScope ?? '');
    sequence.whenEnded(() => answers.add(ids, request.promptIds.length));
    return new TextDrafter(ids, answers.experience, answers.index);
  }

  #failed(error: unknown): void {
    this.failures++;
    if (!this.#isFailing) this.#options.onFailure?.(error);
    this.#isFailing = true;
  }
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
