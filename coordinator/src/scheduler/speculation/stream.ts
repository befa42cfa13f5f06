import type { SpeculationUsage } from '../generation.ts';
import { Acceptance } from './acceptance.ts';
import { PromptLookup } from './lookup.ts';
import type { MtpStream } from './mtp-drafter.ts';

/** Who makes drafts: the model's own MTP module, or whoever finds the text's end further up in it. */
export type DraftKind = 'mtp' | 'lookup';

/** A stream's own experience fades to half in 14 drafts: texts change. */
const STREAM_DECAY = 0.95;
/** Passes after which a draft more than what pays is tried; doubled whenever that failed. */
const FIRST_PROBE = 8;
const GUESS_PROBE = 2;
const LAST_PROBE = 512;

export interface StreamOptions {
  /** Prompt and answer; it grows. */
  ids: readonly number[];
  /** Laps of a pass, and of one call of the MTP module. */
  lapsPerPass: number;
  lapsPerDraft: number;
  /** What to expect of a source of drafts, by depth. */
  prior: (source: string) => (depth: number) => number;
  mtp: MtpStream | undefined;
}

/** One answer's drafts and what is known of their luck. */
export class StreamSpeculation {
  readonly usage: SpeculationUsage = { drafted: 0, accepted: 0, passes: 0, laps: 0 };
  /** To be verified in the next pass, after the last known token. */
  drafts: readonly number[] = [];
  /** Who made them, and where their luck is counted. */
  kind: DraftKind = 'lookup';
  source = '';
  /** Present where the model's MTP module drafts for it. */
  mtp: MtpStream | undefined;
  /** Requests that may share what was computed of a common beginning have it in common. */
  readonly cacheScope: string;
  readonly #laps: Pick<StreamOptions, 'lapsPerPass' | 'lapsPerDraft'>;
  readonly #lookup: PromptLookup;
  readonly #acceptance = new Map<string, Acceptance>();
  readonly #prior: (source: string) => (depth: number) => number;
  #probeAfter = FIRST_PROBE;
  #passesWithout = 0;
  #lastDepth = 0;

  constructor({ ids, lapsPerPass, lapsPerDraft, prior, mtp }: StreamOptions) {
    this.#laps = { lapsPerPass, lapsPerDraft };
    this.#lookup = new PromptLookup(ids);
    this.#prior = prior;
    this.mtp = mtp;
    this.cacheScope = mtp ? `mtp ${mtp.reading}` : '';
  }

  /** A pass gives the answer tokens, with so many drafts in it. */
  countPass(drafts: number): void {
    this.usage.passes++;
    this.usage.laps += this.#laps.lapsPerPass;
    this.usage.drafted += drafts;
  }

  /** The MTP module is called for a draft of it. */
  countDraftCall(): void {
    this.usage.laps += this.#laps.lapsPerDraft;
  }

  /** Of drafts of the same origin. */
  acceptance(source: string): Acceptance {
    let found = this.#acceptance.get(source);
    if (!found) {
      found = new Acceptance(this.#prior(source), STREAM_DECAY);
      this.#acceptance.set(source, found);
    }
    return found;
  }

  /** What the text itself suggests, and where its acceptance is counted. */
  findInText(count: number): { drafts: readonly number[]; source: string } | undefined {
    const match = this.#lookup.find(count);
    // The longer the repetition, the likelier that it goes on.
    return match && { drafts: match.drafts, source: `lookup ${Math.min(4, Math.floor(Math.log2(match.length)))}` };
  }

  /**
   * The depth to be tried in the next pass where `depth` is expected to pay best: now and then one more, and soon while what
   * that costs is `isGuess`.
   */
  probed(depth: number, most: number, isGuess: boolean): number {
    if (depth > this.#lastDepth) {
      this.#probeAfter = FIRST_PROBE;
      this.#passesWithout = 0;
    }
    this.#lastDepth = depth;
    if (depth >= most) return depth;
    this.#passesWithout++;
    if (this.#passesWithout < (isGuess ? GUESS_PROBE : this.#probeAfter)) return depth;
    this.#passesWithout = 0;
    if (!isGuess) this.#probeAfter = Math.min(LAST_PROBE, this.#probeAfter * 2);
    return depth + 1;
  }
}
