import { messageOf, type TokenMask } from '@shoal/model';
import { GenerationError } from './generation.ts';
import { QUICK_MS } from './grace.ts';
import type { TokenConstraint } from './token-constraint.ts';

/** No answer may hold its place in the batch for ever. Masks take milliseconds. */
const DEADLINE_MS = 10_000;
/** Quick answers until a constraint that was late is trusted again: doubled each time, up to this many. */
const MOST_OWED = 32;

export interface GuardOptions {
  vocabSize: number;
  /** Ends that may not be drawn as the token after so many drafts. */
  bannedEnds: (numDrafts: number) => ReadonlySet<number>;
  deadlineMs?: number;
  /** A clock in milliseconds; `performance.now()` by default. */
  now?: () => number;
}

/** Masks that were asked for about the answer as it still is. */
interface Asked {
  drafts: readonly number[];
  masks: Promise<TokenMask | undefined>[];
  hasCome: boolean;
}

/**
 * A constraint as the scheduler uses it: with a deadline, and asked nothing more once it is closed. What goes wrong with it
 * is a GenerationError, for its own answer.
 */
export class ConstraintGuard {
  readonly #constraint: TokenConstraint;
  readonly #options: GuardOptions;
  /** Rejections of what is being waited for. */
  readonly #waiting = new Set<(reason: GenerationError) => void>();
  #isClosed = false;
  #asked: Asked | undefined;
  /** Quick answers that it owes, and will owe when it is late again. */
  #owed = 0;
  #nextOwed = 1;
  /** Called when masks have come, or failed. */
  onMasks = (): void => {};

  constructor(constraint: TokenConstraint, options: GuardOptions) {
    this.#constraint = constraint;
    this.#options = options;
  }

  /** How many of `drafts` may come next, in order. */
  async allowedDrafts(drafts: readonly number[]): Promise<number> {
    const count = await this.#ask(() => this.#constraint.allowedDrafts(drafts));
    return Math.max(0, Math.min(Math.trunc(count), drafts.length));
  }

  /** Whether masks that the next pass needs have been asked for and not come. */
  get isAwaited(): boolean {
    return this.#asked?.hasCome === false;
  }

  /** Whether it was late, and not quick often enough since: its rows then go into passes only with their masks. */
  get isSlow(): boolean {
    return this.#owed > 0;
  }

  /** Takes note that it has not answered in time for a pass. */
  wasLate(): void {
    this.#owed = this.#nextOwed;
    this.#nextOwed = Math.min(MOST_OWED, this.#nextOwed * 2);
  }

  /**
   * The masks of the rows after the answer and after each of `drafts`, without banned ends. None is left without a listener.
   * They are asked for once, even if several passes need them.
   */
  masks(drafts: readonly number[]): Promise<TokenMask | undefined>[] {
    const { masks, drafts: asked } = this.#asked ?? {};
    if (masks && drafts.every((draft, i) => draft === asked![i])) return masks.slice(0, drafts.length + 1);
    return this.#askForMasks(drafts);
  }

  #askForMasks(drafts: readonly number[]): Promise<TokenMask | undefined>[] {
    const { vocabSize, bannedEnds, now = () => performance.now() } = this.#options;
    const askedMs = now();
    const all = this.#ask(async () => {
      const masks = await this.#constraint.masks(drafts);
      if (masks.length > drafts.length) return masks;
      throw new Error(`${masks.length} masks for ${drafts.length} drafts`);
    });
    const rowMasks = Array.from({ length: drafts.length + 1 }, (_, i) => {
      // Now: by the time that the mask comes, the answer may be longer.
      const banned = bannedEnds(i);
      const mask = all.then((masks) => withoutEnds(masks[i], banned, vocabSize));
      mask.catch(() => {});
      return mask;
    });
    const asked: Asked = { drafts: [...drafts], masks: rowMasks, hasCome: false };
    this.#asked = asked;
    const come = (): void => {
      asked.hasCome = true;
      if (this.#owed > 0 && now() - askedMs <= QUICK_MS) this.#owed--;
      this.onMasks();
    };
    all.then(come, come);
    return rowMasks;
  }

  accept(tokenId: number): void {
    this.#asked = undefined;
    try {
      if (!this.#isClosed) this.#constraint.accept(tokenId);
    } catch (error) {
      throw failed(error);
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const reject of this.#waiting) reject(ended());
    this.#constraint.close();
  }

  /** Awaits an answer of the constraint until the deadline, or until it is closed. */
  #ask<T>(question: () => Promise<T>): Promise<T> {
    if (this.#isClosed) return Promise.reject(ended());
    const { deadlineMs = DEADLINE_MS } = this.#options;
    return new Promise<T>((resolve, reject) => {
      const late = new Error(`it has not answered for ${deadlineMs / 1000} s`);
      const timer = setTimeout(() => reject(failed(late)), deadlineMs);
      this.#waiting.add(reject);
      (async () => question())()
        .then(resolve, (error: unknown) => reject(failed(error)))
        .finally(() => {
          clearTimeout(timer);
          this.#waiting.delete(reject);
        });
    });
  }
}

/** The mask without the banned ends; with them if nothing else is allowed, since such an answer cannot go on. */
function withoutEnds(
  mask: TokenMask | undefined,
  banned: ReadonlySet<number>,
  vocabSize: number,
): TokenMask | undefined {
  if (banned.size === 0) return mask;
  const left = mask ? mask.slice() : new Uint32Array(Math.ceil(vocabSize / 32)).fill(0xffffffff);
  for (const tokenId of banned) left[tokenId >>> 5]! &= ~(1 << (tokenId & 31));
  // Bits behind the vocabulary are no tokens.
  if (vocabSize % 32 > 0) left[Math.floor(vocabSize / 32)]! &= (1 << (vocabSize % 32)) - 1;
  return left.some((word) => word !== 0) ? left : mask;
}

function failed(error: unknown): GenerationError {
  return new GenerationError('internal', `The constraint on the answer's tokens failed: ${messageOf(error)}`);
}

function ended(): GenerationError {
  return new GenerationError('internal', 'The answer has ended.');
}
