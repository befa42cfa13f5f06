/** Suspends a reader until more of the answer is there. */
export type Reading<T> = Generator<void, T, void>;

const SPACE = /\s*/y;

/**
 * What has been generated and not been read yet. Readers are generators, so that they read as if the whole answer were there;
 * they stop where it goes no further, and are resumed after each piece. All of them read each character a bounded number of
 * times, however the answer is cut into pieces.
 *
 * A special token is a boundary: it is no part of a text, but may be a marker.
 */
export class AnswerInput {
  #text = '';
  #at = 0;
  /** A special token that follows the text. */
  #special: string | undefined;
  #hasEnded = false;
  /** What was read since `record`. */
  #record: string[] | undefined;
  /** Whether the latest marker was a special token. */
  wasSpecial = false;

  readonly #showsSpecials: boolean;

  /** Special tokens that are no markers are text where they are shown. */
  constructor(showsSpecials = false) {
    this.#showsSpecials = showsSpecials;
  }

  /** To be called only when the reader waits. */
  push(text: string, isSpecial: boolean): void {
    if (isSpecial) this.#special = text;
    else {
      this.#text = this.#text.slice(this.#at) + text;
      this.#at = 0;
    }
  }

  end(): void {
    this.#hasEnded = true;
  }

  /** Whether nothing will follow; part of it may not have been read. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Whether all was read and nothing will follow. */
  get isDone(): boolean {
    return this.#hasEnded && this.#at === this.#text.length && this.#special === undefined;
  }

  /** Remembers what is read from here on; special tokens are left out. */
  record(initial: string): void {
    this.#record = initial === '' ? [] : [initial];
  }

  /** What was remembered; remembers no more. */
  takeRecord(): string {
    const record = this.#record ?? [];
    this.#record = undefined;
    return record.join('');
  }

  /** The next character; '' at a special token and at the end. */
  *peek(): Reading<string> {
    while (this.#at === this.#text.length) if (!(yield* this.#more())) return '';
    return this.#text[this.#at]!;
  }

  /** Reads the next `count` characters, which are there. */
  take(count: number): string {
    const taken = this.#text.slice(this.#at, this.#at + count);
    this.#at += count;
    if (taken !== '') this.#record?.push(taken);
    return taken;
  }

  /** Puts back what was just read. */
  unread(text: string): void {
    this.#text = text + this.#text.slice(this.#at);
    this.#at = 0;
    const record = this.#record;
    if (!record) return;
    let last = '';
    while (last.length < text.length && record.length > 0) last = record.pop()! + last;
    // A marker that was a special token was not remembered.
    record.push(last.endsWith(text) ? last.slice(0, -text.length) : last);
  }

  *skipSpace(onText?: (text: string) => void): Reading<void> {
    yield* this.takeWhile(SPACE, onText);
  }

  /** Reads while characters match: `pattern` is sticky, matches '' too, and looks at one character at a time. */
  *takeWhile(pattern: RegExp, onText?: (text: string) => void): Reading<void> {
    do {
      pattern.lastIndex = this.#at;
      const taken = this.take(pattern.exec(this.#text)![0].length);
      if (taken !== '') onText?.(taken);
    } while (this.#at === this.#text.length && (yield* this.#more()));
  }

  /** Reads this text or special token if it comes next. */
  *tryText(wanted: string): Reading<boolean> {
    for (;;) {
      if (this.#text.startsWith(wanted, this.#at)) {
        this.take(wanted.length);
        return true;
      }
      const left = this.#text.length - this.#at;
      if (left === 0 && this.#special === wanted) return this.#takeSpecial() === wanted;
      if (left >= wanted.length || !wanted.startsWith(this.#text.slice(this.#at))) return false;
      if (!(yield* this.#more())) return false;
    }
  }

  /**
   * Reads up to and with the first of the markers, which is returned. Hands on the text before it as soon as it cannot belong
   * to one; `onLast` gets what at the answer's end may be the beginning of one. Other special tokens are dropped unless they are shown. Undefined: the
   * answer has ended.
   */
  *until(
    markers: readonly string[],
    onText: (text: string) => void,
    onLast: (text: string) => void = onText,
  ): Reading<string | undefined> {
    const finder = markerFinder(markers);
    for (;;) {
      const isOpen = this.#special === undefined && !this.#hasEnded;
      const found = finder(this.#text, this.#at, isOpen);
      const text = this.take(found.index - this.#at);
      if (text !== '') onText(text);
      if (found.marker !== undefined) {
        this.take(found.marker.length);
        this.wasSpecial = false;
        return found.marker;
      }
      const held = isOpen ? '' : this.take(this.#text.length - this.#at);
      if (held !== '') (this.#special === undefined ? onLast : onText)(held);
      if (this.#special !== undefined) {
        const special = this.#takeSpecial()!;
        this.wasSpecial = true;
        if (markers.includes(special)) return special;
        if (this.#showsSpecials) onText(special);
      } else if (!(yield* this.#more())) return undefined;
    }
  }

  #takeSpecial(): string | undefined {
    const special = this.#special;
    this.#special = undefined;
    return special;
  }

  /** Waits for more text: whether there may be some. */
  *#more(): Reading<boolean> {
    if (this.#special !== undefined || this.#hasEnded) return false;
    yield;
    return true;
  }
}

type Found = { index: number; marker: string | undefined };
/** `isOpen`: more text may follow. */
type Finder = (text: string, from: number, isOpen: boolean) => Found;

const finders = new Map<string, Finder>();
/** Conventions have a few lists of markers each. */
const MAX_FINDERS = 256;

/** Finds the first marker, or else where the text's longest end begins that could become one. */
function markerFinder(markers: readonly string[]): Finder {
  const key = markers.join('\0');
  const known = finders.get(key);
  if (known) return known;
  const longestFirst = [...markers].sort((a, b) => b.length - a.length);
  const pattern = new RegExp(
    longestFirst.map((marker) => marker.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')).join('|'),
    'g',
  );
  const longest = longestFirst[0]?.length ?? 0;
  const mayBecome = (end: string): boolean =>
    markers.some((marker) => marker.length > end.length && marker.startsWith(end));
  const finder: Finder = (text, from, isOpen) => {
    pattern.lastIndex = from;
    const match = longest === 0 ? null : pattern.exec(text);
    const last = match ? match.index + 1 : text.length;
    for (let index = Math.max(from, text.length - longest + 1); index < last; index++) {
      // A marker that is found may still become a longer one.
      if ((isOpen || !match) && mayBecome(text.slice(index))) return { index, marker: undefined };
    }
    return match ? { index: match.index, marker: match[0] } : { index: text.length, marker: undefined };
  };
  if (finders.size < MAX_FINDERS) finders.set(key, finder);
  return finder;
}
