/** What a pass is doing at a moment. */
type PassState = 'computing' | 'waiting';

/** How time is spent, from the beginnings, ends and waits of passes, in milliseconds. */
export class Occupancy {
  readonly #now: () => number;
  readonly #passes = new Map<object, PassState>();
  #sinceMs: number;
  #busyMs = 0;
  #waitingMs = 0;
  #overlappedMs = 0;

  constructor(now: () => number) {
    this.#now = now;
    this.#sinceMs = now();
  }

  /** Time in which at least one pass computed or was queued to compute. */
  get busyMs(): number {
    this.#settle();
    return this.#busyMs;
  }

  /** Time in which all passes in flight waited for laps. */
  get waitingMs(): number {
    this.#settle();
    return this.#waitingMs;
  }

  /** The part of `busyMs` in which another pass waited for a lap. */
  get overlappedMs(): number {
    this.#settle();
    return this.#overlappedMs;
  }

  /** Passes in flight now. */
  get passes(): number {
    return this.#passes.size;
  }

  /** Records that a pass begins, goes on, or can only wait. */
  set(pass: object, state: PassState): void {
    this.#settle();
    this.#passes.set(pass, state);
  }

  end(pass: object): void {
    this.#settle();
    this.#passes.delete(pass);
  }

  #settle(): void {
    const nowMs = this.#now();
    const passedMs = nowMs - this.#sinceMs;
    this.#sinceMs = nowMs;
    let [computing, waiting] = [0, 0];
    for (const state of this.#passes.values()) {
      if (state === 'computing') computing++;
      else waiting++;
    }
    if (computing > 0) this.#busyMs += passedMs;
    else if (waiting > 0) this.#waitingMs += passedMs;
    if (computing > 0 && waiting > 0) this.#overlappedMs += passedMs;
  }
}
