import type { SpeculationUsage } from '../generation.ts';
import { Acceptance } from './acceptance.ts';
import { type DraftTree, NO_DRAFTS } from './draft-tree.ts';
import type { DraftKind, DrafterStream, DrafterTraits } from './drafter-stream.ts';
import type { TextDrafter, TextDrafts } from './text-drafter.ts';

/** Half-life of a sequence's own acceptance: 14 drafts, since texts change. */
const STREAM_DECAY = 0.95;
/** Passes before one draft more than pays is tried; doubled after each failure. */
const FIRST_PROBE = 8;
/** The same while the price of a row is a guess. */
const GUESS_PROBE = 2;
const LAST_PROBE = 512;

export interface StreamOptions {
  /** Drafts from texts. */
  text: TextDrafter;
  /** Laps of a pass. */
  lapsPerPass: number;
  /** Expected acceptance of a source of drafts, by depth. */
  prior: (source: string) => (depth: number) => number;
  /** The model that drafts, if one does. */
  drafter: (Pick<DrafterTraits, 'kind' | 'lapsPerDraft'> & { begin(): DrafterStream }) | undefined;
}

/** One sequence's drafts, and how many of them were right. */
export class StreamSpeculation {
  readonly usage: SpeculationUsage = { drafted: 0, accepted: 0, passes: 0, laps: 0 };
  /** Verified in the next pass, after the last known token. */
  drafts: DraftTree = NO_DRAFTS;
  /** Of each draft, as `Confidence` counts them; empty if it does not. */
  kinds: readonly number[] = [];
  /** 1 if the draft after them was dropped because the sequence's constraint does not allow it; else 0. */
  refused = 0;
  /** What made `drafts`, and the key under which their acceptance is counted. */
  kind: DraftKind = 'lookup';
  source = '';
  /** Present while a model drafts for the sequence. */
  drafterStream: DrafterStream | undefined;
  /** Only requests with the same scope share computed prefixes: a page holds the drafter's cache only if its first user drafts. */
  readonly cacheScope: string;
  readonly #lapsPerPass: number;
  readonly #lapsPerDraft: number;
  readonly #text: TextDrafter;
  readonly #acceptance = new Map<string, Acceptance>();
  readonly #prior: (source: string) => (depth: number) => number;
  #probeAfter = FIRST_PROBE;
  #passesWithout = 0;
  #lastDepth = 0;

  constructor({ text, lapsPerPass, prior, drafter }: StreamOptions) {
    this.#lapsPerPass = lapsPerPass;
    this.#lapsPerDraft = drafter?.lapsPerDraft ?? 0;
    this.#text = text;
    this.#prior = prior;
    this.drafterStream = drafter?.begin();
    this.cacheScope = drafter?.kind ?? '';
  }

  /** Counts a pass that gives the sequence tokens, with `drafts` drafts in it. */
  countPass(drafts: number): void {
    this.usage.passes++;
    this.usage.laps += this.#lapsPerPass;
    this.usage.drafted += drafts;
  }

  /** Counts a call of the drafter for a draft of this sequence. */
  countDraftCall(): void {
    this.usage.laps += this.#lapsPerDraft;
  }

  /** The sequence's own acceptance of drafts from `source`. */
  acceptance(source: string): Acceptance {
    let found = this.#acceptance.get(source);
    if (!found) this.#acceptance.set(source, (found = new Acceptance(this.#prior(source), STREAM_DECAY)));
    return found;
  }

  /** At most `count` drafts from this and earlier texts; undefined if the text's end is new. To be asked after each pass. */
  findInText(count: number): TextDrafts | undefined {
    return this.#text.find(count);
  }

  /**
   * The depth to try in the next pass where `depth` is expected to pay best: now and then one more (at most `most`), and soon
   * while the price of a row is a guess (`isGuess`).
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
