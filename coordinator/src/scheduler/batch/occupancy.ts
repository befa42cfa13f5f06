/** What a pass does at a moment. */
type PassState = 'computing' | 'waiting';

/** How the engine's time is spent, from its passes' beginnings, ends and waits. Times in milliseconds. */
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

  /** In which at least one pass had the engine or was about to. */
  get busyMs(): number {
    this.#settle();
    return this.#busyMs;
  }

  /** In which all passes that there were waited for laps. */
  get waitingMs(): number {
    this.#settle();
    return this.#waitingMs;
  }

  /** Of `busyMs`, in which another pass waited for a lap: what waiting was made use of. */
  get overlappedMs(): number {
    this.#settle();
    return this.#overlappedMs;
  }

  /** Passes at this moment. */
  get passes(): number {
    return this.#passes.size;
  }

  /** A pass begins, or goes on, or has nothing to do but wait. */
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
