import type { ExpertDispatch, ForwardEngine, ForwardResult } from '@shoal/model';
import type { BatchOptions } from '../../laps/dispatcher.ts';
import type { BatchEntry } from '../batch/batch.ts';
import type { Sequence } from '../sequence.ts';
import { Acceptance } from './acceptance.ts';
import { PassCost } from './cost.ts';
import { chooseDepths } from './depth.ts';
import { type DraftsWithin, MtpDrafter, type MtpStream, type MtpRequest } from './mtp-drafter.ts';
import { type HiddenReading, HiddenReadings } from './reading.ts';
import { type DraftKind, StreamSpeculation } from './stream.ts';

export const SPECULATION_MODES = ['auto', 'mtp', 'lookup', 'off'] as const;
/** `auto`: the MTP module's drafts where the model has one, else those of the text itself. */
export type SpeculationMode = (typeof SPECULATION_MODES)[number];

export const DEFAULT_MAX_DRAFTS = 4;
/** More are hardly ever all right. */
export const MAX_DRAFTS_LIMIT = 16;

export interface SpeculationOptions {
  forward: ForwardEngine;
  experts: { batch(options?: BatchOptions): ExpertDispatch };
  /** auto by default. */
  mode?: SpeculationMode;
  /** Drafts of one sequence in a pass at most; DEFAULT_MAX_DRAFTS by default. */
  maxDrafts?: number;
  /** Whether anybody has the MTP module's experts; true by default. */
  hasMtpExperts?: boolean;
  maxContext: number;
  eosTokenIds: readonly number[];
  /** Laps that a pass makes. */
  lapsPerPass: number;
  /** Laps that a call of the MTP module makes: 1 where tabs hold its experts; 0 by default. */
  lapsPerDraft?: number;
  /** Prompt rows of the next pass at most, beside so many of decoding sequences. */
  promptRowsBeside: (decodeRows: number) => number;
  /** Milliseconds of a clock. */
  now: () => number;
  /** It was found out which hidden state the MTP module reads. */
  onReading?: ((reading: HiddenReading, readings: HiddenReadings) => void) | undefined;
  /** The first drafting call that failed since one went well. */
  onFailure?: ((error: unknown) => void) | undefined;
}

/** Drafts by kind and depth − 1 since start. */
export interface DraftCounts {
  drafted: number[];
  accepted: number[];
}

/** Experience of all streams fades to half in 350 drafts. */
const ALL_STREAMS_DECAY = 0.998;
/** Before there is any: DeepSeek-V3's own module is right in 85 to 90 % (paper §5.4.3); others are tried, and soon given up. */
const MTP_FIRST_PRIOR = 0.85;
const PRIOR = 0.5;

/** A sequence that will be in the next pass, and where its drafts may come from. */
interface Candidate {
  sequence: Sequence;
  state: StreamSpeculation;
  source: string;
  maxDrafts: number;
  /** Of the text itself; the MTP module's are yet to be computed. */
  found: readonly number[] | undefined;
}

/**
 * Speculative decoding: drafts of the next tokens go into a pass beside the last known one, and as many as were right save a
 * pass each, and with it a lap for every MoE layer. How many there are is a matter of what they gain and cost (`chooseDepths`);
 * what comes out is the same (`verifyDrafts`).
 */
export class Speculation {
  readonly readings: HiddenReadings;
  readonly counts: Readonly<Record<DraftKind, DraftCounts>> = {
    mtp: { drafted: [], accepted: [] },
    lookup: { drafted: [], accepted: [] },
  };
  /** Drafting calls that failed. */
  failures = 0;
  readonly #options: SpeculationOptions;
  readonly #maxDrafts: number;
  readonly #mtp: MtpDrafter | undefined;
  readonly #passCost = new PassCost();
  readonly #experience = new Map<string, Acceptance>();
  #isFailing = false;

  constructor(options: SpeculationOptions) {
    this.#options = options;
    const { forward, experts, eosTokenIds, now, mode = 'auto', onReading, hasMtpExperts = true } = options;
    this.#maxDrafts = options.maxDrafts ?? DEFAULT_MAX_DRAFTS;
    this.readings = new HiddenReadings((reading) => onReading?.(reading, this.readings));
    if (mode === 'auto' || mode === 'mtp') {
      if (forward.config.numNextnPredictLayers > 0 && hasMtpExperts) {
        const onFailure = (error: unknown): void => this.#failed(error);
        this.#mtp = new MtpDrafter({ forward, experts, eosTokenIds, now, onFailure });
      } else if (mode === 'mtp') {
        const lacks = hasMtpExperts ? 'the model has no MTP module' : "nobody is to hold the MTP module's experts";
        throw new RangeError(`--speculate mtp: ${lacks}; take auto, lookup or off`);
      }
    }
  }

  /** Bytes of the drafter's own KV cache for one more token of one answer. */
  get kvBytesPerToken(): number {
    return this.#mtp ? this.#options.forward.mtpKvBytesPerToken : 0;
  }

  /** Drafts since start, of whichever kind and depth, and the right ones. */
  get totals(): { drafted: number; accepted: number } {
    const sum = (of: readonly number[]): number => of.reduce((all, count) => all + count, 0);
    const { mtp, lookup } = this.counts;
    return {
      drafted: sum(mtp.drafted) + sum(lookup.drafted),
      accepted: sum(mtp.accepted) + sum(lookup.accepted),
    };
  }

  /** For a new answer; undefined where nothing is drafted for it. */
  begin({ ids, request }: Sequence): StreamSpeculation | undefined {
    if (this.#options.mode === 'off' || request.speculate === false) return undefined;
    const mtp: MtpStream | undefined = this.#mtp && {
      reading: this.readings.next(),
      cache: undefined,
      pending: [],
      failures: 0,
    };
    return new StreamSpeculation({
      ids,
      lapsPerPass: this.#options.lapsPerPass,
      lapsPerDraft: this.#options.lapsPerDraft ?? 0,
      prior: (source) => (depth) => this.#experienceOf(source).rate(depth),
      mtp,
    });
  }

  /** A pass of so many rows took so long, its laps included. */
  notePass(rows: number, passMs: number): void {
    this.#passCost.add(rows, passMs);
  }

  /** The entry's drafts were compared with the model's own choice: the first `accepted` were right. */
  judge({ sequence, drafts }: BatchEntry, accepted: number): void {
    const state = sequence.speculation;
    if (!state || drafts.length === 0) return;
    state.acceptance(state.source).judge(drafts.length, accepted);
    this.#experienceOf(state.source).judge(drafts.length, accepted);
    const { drafted, accepted: right } = this.counts[state.kind];
    for (let i = 0; i < drafts.length; i++) {
      drafted[i] = (drafted[i] ?? 0) + 1;
      right[i] = (right[i] ?? 0) + (i < accepted ? 1 : 0);
    }
    if (state.kind === 'mtp' && state.mtp) this.readings.judge(state.mtp.reading, accepted > 0);
  }

  /** After a pass: drafts for the next one. Never throws: whatever goes wrong, answers go on without drafts. */
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
      state.kind = candidate?.found ? 'lookup' : 'mtp';
      state.source = candidate?.source ?? state.source;
      const wanted = state.mtp && !candidate?.found ? depth : 0;
      if (state.mtp && (wanted > 0 || this.#mtp!.isDue(sequence, state.mtp)))
        requests.push({ sequence, stream: state.mtp, depth: wanted });
    }
    if (requests.length > 0) await this.#fulfil(requests, within);
  }

  async #fulfil(requests: readonly MtpRequest[], within: DraftsWithin): Promise<void> {
    const failuresBefore = this.failures;
    const drafts = await this.#mtp!.draft(requests, within);
    if (this.failures === failuresBefore) this.#isFailing = false;
    for (const { sequence, stream, depth } of requests) {
      const state = sequence.speculation!;
      if (depth > 0) state.drafts = drafts.get(sequence)!;
      if (this.#mtp!.hasGivenUp(stream)) state.mtp = undefined;
    }
  }

  /** How many drafts each sequence is to have, and where from. */
  #depths(sequences: readonly Sequence[]): Map<Sequence, { candidate: Candidate; depth: number }> {
    const live = sequences.filter(({ finished }) => !finished);
    const candidates = live.flatMap((sequence) => this.#candidate(sequence) ?? []);
    const prompts = live.filter(({ state }) => state === 'prefill');
    const promptRows = prompts.reduce((sum, { cache, ids }) => sum + ids.length - cache!.length, 0);
    const decodeRows = live.length - prompts.length;
    const baseRows = decodeRows + Math.min(this.#options.promptRowsBeside(decodeRows), promptRows);
    const mtp = candidates.some(({ found }) => !found) ? this.#mtp : undefined;
    const depths = chooseDepths(
      candidates.map(({ state, source, maxDrafts }) => ({
        maxDrafts,
        reach: (depth) => state.acceptance(source).reach(depth),
      })),
      {
        passMs: this.#passCost.ms(baseRows),
        msPerRow: this.#passCost.msPerRow,
        draftMs: (depth) => (depth === 1 ? mtp?.firstMs.ms : mtp?.deeperMs.ms) ?? 0,
      },
    );
    return new Map(
      candidates.map((candidate, i) => {
        const depth = candidate.state.probed(depths[i]!, candidate.maxDrafts, this.#passCost.isGuess);
        return [candidate.sequence, { candidate, depth }];
      }),
    );
  }

  #candidate(sequence: Sequence): Candidate | undefined {
    const { speculation: state, request, ids } = sequence;
    if (!state || sequence.state !== 'decode') return undefined;
    // The last token that may come needs no draft: it is drawn from the row before it.
    const end = Math.min(request.promptIds.length + request.maxTokens, this.#options.maxContext);
    const most = Math.min(this.#maxDrafts, end - ids.length - 1);
    if (most <= 0) return undefined;
    if (state.mtp) return { sequence, state, source: `mtp ${state.mtp.reading}`, maxDrafts: most, found: undefined };
    const match = state.findInText(most);
    if (!match) return undefined;
    const { eosTokenIds } = this.#options;
    const cut = match.drafts.findIndex((id) => eosTokenIds.includes(id));
    const found = cut < 0 ? match.drafts : match.drafts.slice(0, cut);
    return { sequence, state, source: match.source, maxDrafts: found.length, found };
  }

  #experienceOf(source: string): Acceptance {
    let found = this.#experience.get(source);
    if (!found) {
      found = new Acceptance(
        (depth) => (source.startsWith('mtp') && depth === 1 ? MTP_FIRST_PRIOR : PRIOR),
        ALL_STREAMS_DECAY,
      );
      this.#experience.set(source, found);
    }
    return found;
  }

  #failed(error: unknown): void {
    this.failures++;
    if (!this.#isFailing) this.#options.onFailure?.(error);
    this.#isFailing = true;
  }
}
