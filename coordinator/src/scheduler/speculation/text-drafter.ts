import { Rates } from './acceptance.ts';
import { LongestPlaces, type Place, TokenIndex } from './token-index.ts';

/** Half-lives: a stream's own experience 14 drafts, since texts change; that of several streams 350. */
const DECAY = 0.95;
const SHARED_DECAY = 0.998;
/** Expected of a draft that the only place has next, that all of several have, most, and few. */
const PRIORS = [0.9, 0.95, 0.6, 0.4] as const;
/** The share of these with 2 or 3 tokens in common, and with 4 to 7: the fewer there are, the more the prior errs. */
const SHORT_PRIORS = [1, 0.5, 0.8] as const;
/** Drafts that are right less often than this are no rows' worth. */
const LEAST_REACH = 0.01;

export interface TextDrafts {
  drafts: readonly number[];
  /** [drafts.length] Probability that the drafts up to each one are all right. */
  reach: readonly number[];
}

/** How often drafts from texts are right, over several streams. */
export function newTextExperience(): Rates {
  const kinds = PRIORS.length;
  const prior = (which: number): number => PRIORS[which % kinds]! * (SHORT_PRIORS[Math.floor(which / kinds)] ?? 1);
  return new Rates(prior, SHARED_DECAY);
}

/**
 * Drafts what followed the text's last tokens where they occurred before, in the text itself (prompt lookup, Saxena 2023) or in
 * recent answers (SuffixDecoding, Oliaro et al. 2024). The place that has most in common counts, and of equal places what
 * most of them have next. How far it is worth going is told by how often drafts like these were right, by how much the place has
 * in common and how many of the places agree: SuffixDecoding's frequencies, corrected by experience.
 */
export class TextDrafter {
  /** The text; it may grow. */
  readonly #ids: readonly number[];
  readonly #own = new TokenIndex();
  readonly #others: TokenIndex | undefined;
  readonly #rates: Rates;
  readonly #shared: Rates;
  /** The last drafts, their classes, and the length of the text that they were to follow. */
  #last: { drafts: readonly number[]; classes: readonly number[]; after: number } | undefined;

  /** `others` are the texts of the streams with which it has `experience` in common. */
  constructor(ids: readonly number[], experience: Rates, others?: TokenIndex) {
    this.#ids = ids;
    this.#shared = experience;
    this.#rates = new Rates((which) => experience.rate(which), DECAY);
    this.#others = others;
  }

  /** At most `count` drafts of the tokens that come next; undefined if the end of the text is new. */
  find(count: number): TextDrafts | undefined {
    this.#judge();
    this.#own.append(this.#ids, this.#own.length, this.#ids.length);
    const places = new LongestPlaces();
    this.#own.search(this.#ids, places, this.#ids.length - 1);
    this.#others?.search(this.#ids, places);
    if (places.list.length === 0 || count < 1) return undefined;
    const { classes, ...found } = this.#follow(places.list, count);
    this.#last = { drafts: found.drafts, classes, after: this.#ids.length };
    return found;
  }

  /** Compares the last drafts with what has come since, whether or not a pass had them. */
  #judge(): void {
    if (!this.#last) return;
    const { drafts, classes, after } = this.#last;
    for (const [i, draft] of drafts.entries()) {
      const token = this.#ids[after + i];
      if (token === undefined) break;
      this.#rates.judge(classes[i]!, draft === token);
      this.#shared.judge(classes[i]!, draft === token);
      if (draft !== token) break;
    }
    this.#last = undefined;
  }

  #follow(places: readonly Place[], count: number): TextDrafts & { classes: readonly number[] } {
    const [drafts, reach, classes]: [number[], number[], number[]] = [[], [], []];
    let all = 1;
    let going = places;
    while (drafts.length < count && all >= LEAST_REACH) {
      const next = going.map((place) => this.#next(place, drafts));
      const draft = favourite(going, next);
      if (draft === undefined) break;
      const agreeing = going.filter((_, i) => next[i] === draft);
      const which = classOf(agreeing[0]!.length + drafts.length, agreeing.length, going.length);
      all *= this.#rates.rate(which);
      drafts.push(draft);
      classes.push(which);
      reach.push(all);
      going = agreeing;
    }
    return { drafts, reach, classes };
  }

  /** The token that follows a place and these drafts; undefined where the text of the place ends. */
  #next({ index, at }: Place, drafts: readonly number[]): number | undefined {
    const position = at + 1 + drafts.length;
    // Past its own end the text continues with its drafts: the repetition may be shorter than they are.
    if (index === this.#own && position >= this.#ids.length) return drafts[position - this.#ids.length];
    return index.tokenAt(position);
  }
}

/** What most of the places that have most in common have next; of equally many, what the first one has. */
function favourite(places: readonly Place[], next: readonly (number | undefined)[]): number | undefined {
  const votes = new Map<number, number>();
  let best: number | undefined;
  let longest = 0;
  for (const [i, token] of next.entries()) {
    if (token === undefined) continue;
    const { length } = places[i]!;
    if (length < longest) break;
    longest = length;
    const count = (votes.get(token) ?? 0) + 1;
    votes.set(token, count);
    if (best === undefined || count > votes.get(best)!) best = token;
  }
  return best;
}

/** Drafts are of one class if their places have about as much in common and agree about as often. */
function classOf(length: number, agreeing: number, places: number): number {
  const share = places === 1 ? 0 : agreeing === places ? 1 : 2 * agreeing >= places ? 2 : 3;
  return PRIORS.length * Math.min(6, Math.floor(Math.log2(length))) + share;
}
