import { EventEmitter } from 'node:events';
import type { DatabaseEvents } from './database.ts';

/** Between two attempts to reach a database that is away, at most. Half of it at least, so that members do not come all at once. */
const LONGEST_PAUSE_MS = 2_000;
const FIRST_PAUSE_MS = 100;

/** Pauses that double up to a limit, with jitter. */
export class Backoff {
  #attempts = 0;

  next(): number {
    const most = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#attempts++);
    return most * (0.5 + Math.random() / 2);
  }

  reset(): void {
    this.#attempts = 0;
  }
}

/** Whether a database is reached, by what its queries say; while it is away, it is tried again and again. */
export class Reach {
  readonly events = new EventEmitter<DatabaseEvents>();
  readonly #probe: () => Promise<void>;
  readonly #backoff = new Backoff();
  #awaySinceMs: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param probe rejects while the database cannot be reached */
  constructor(probe: () => Promise<void>) {
    this.#probe = probe;
  }

  get isAway(): boolean {
    return this.#awaySinceMs !== undefined;
  }

  /** A query was answered, if only with an error of its own. */
  reached(): void {
    if (this.#awaySinceMs === undefined || this.#closed) return;
    const awayMs = performance.now() - this.#awaySinceMs;
    this.#awaySinceMs = undefined;
    this.#backoff.reset();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.events.emit('back', awayMs);
  }

  missed(why: string): void {
    if (this.#awaySinceMs !== undefined || this.#closed) return;
    this.#awaySinceMs = performance.now();
    this.events.emit('away', why);
    this.#tryLater();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #tryLater(): void {
    this.#timer = setTimeout(() => {
      // A query that gets through says so by `reached`.
      this.#probe().catch(() => {
        if (this.isAway && !this.#closed) this.#tryLater();
      });
    }, this.#backoff.next()).unref();
  }
}
