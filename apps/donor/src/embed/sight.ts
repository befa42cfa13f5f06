/** What the browser says of whether a person can see an element: not at all covered, moved or faded, also by the page around a frame. */
export type Sight = 'seen' | 'hidden' | 'unknown';

/** A site that uncovers a button under a finger that is about to press gets no press out of it. */
export const MIN_SEEN_MS = 800;
/** The shortest that Chromium allows with `trackVisibility`. */
const DELAY_MS = 100;

type Entry = Pick<IntersectionObserverEntry, 'intersectionRatio'> & { isVisible?: boolean };
/** IntersectionObserver v2, which TypeScript's library doesn't know yet. */
type Observe = new (
  take: (entries: Entry[]) => void,
  options: { threshold: number[]; trackVisibility: boolean; delay: number },
) => Pick<IntersectionObserver, 'observe' | 'disconnect'>;

export interface SightWatchOptions {
  onChange: (sight: Sight) => void;
  observer?: Observe | undefined;
  now?: () => number;
}

/**
 * Watches an element by IntersectionObserver v2. Browsers without `isVisible` (Firefox and Safari in 2026) leave it `unknown`, and
 * then a press in a frame must count for nothing.
 */
export class SightWatch {
  readonly #options: SightWatchOptions;
  readonly #now: () => number;
  readonly #observer: Pick<IntersectionObserver, 'observe' | 'disconnect'> | undefined;
  #seenSinceMs: number | undefined;

  constructor(element: Element, options: SightWatchOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    const Observer = options.observer ?? (globalThis.IntersectionObserver as unknown as Observe | undefined);
    this.#observer =
      Observer &&
      new Observer((entries) => this.#take(entries.at(-1)!), {
        threshold: [0, 0.5, 0.9, 1],
        trackVisibility: true,
        delay: DELAY_MS,
      });
    this.#observer?.observe(element);
  }

  /** Whether it has been in full view for long enough that a press now is meant. */
  get isCertain(): boolean {
    return this.#seenSinceMs !== undefined && this.#now() - this.#seenSinceMs >= MIN_SEEN_MS;
  }

  close(): void {
    this.#observer?.disconnect();
  }

  #take({ isVisible, intersectionRatio }: Entry): void {
    if (isVisible === undefined) return this.#options.onChange('unknown');
    // Ratios of fractions of pixels don't quite reach 1.
    const isSeen = isVisible && intersectionRatio > 0.98;
    if (!isSeen) this.#seenSinceMs = undefined;
    else this.#seenSinceMs ??= this.#now();
    this.#options.onChange(isSeen ? 'seen' : 'hidden');
  }
}
