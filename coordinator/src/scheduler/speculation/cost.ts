import { DecayedLine } from '../../base/decayed-line.ts';

/** What a pass still counts after the next. */
const DECAY = 0.97;
/** Rows² that the slope so far counts as: where all passes have about as many rows, it stays what it was. */
const SLOPE_INERTIA = 16;
/** The same of a slope that is a guess: the first pass is cold, and a short prompt's rows look a hundred times too dear. */
const GUESS_INERTIA = 0.5;
/** A guess until rows have varied by so much: two passes with a draft among others without. */
const KNOWN_ROWS2 = 1;
/** A pass that took longer than this many times what was expected was held up by something else. */
const OUTLIER = 3;

/** Time of a pass as a + b × rows, fitted to the recent ones by least squares. */
export class PassCost {
  readonly #line = new DecayedLine(DECAY);
  #base = 0;
  #msPerRow: number | undefined;
  /** Rows² by which passes differed since start. */
  #varied = 0;

  add(rows: number, ms: number): void {
    if (this.#msPerRow === undefined) {
      // The dearest that a row can be, until passes say better. The first one is cold and counts for nothing else: a prompt's
      // many rows would outweigh a hundred passes of one.
      this.#msPerRow = ms / rows;
      return;
    }
    this.#line.add(rows, Math.min(ms, OUTLIER * this.ms(rows)));
    this.#varied += (rows - this.#line.meanX) ** 2;
    const inertia = Math.min(SLOPE_INERTIA, GUESS_INERTIA + this.#varied);
    const { base, slope } = this.#line.fit(this.#msPerRow, inertia / this.#line.weight);
    this.#base = base;
    this.#msPerRow = slope;
  }

  /** Whether passes have had too much the same rows to tell what one more costs. */
  get isGuess(): boolean {
    return this.#varied < KNOWN_ROWS2;
  }

  /** 0 while nothing is known. */
  get msPerRow(): number {
    return this.#msPerRow ?? 0;
  }

  /** Expected of a pass with so many rows. */
  ms(rows: number): number {
    return this.#base + rows * this.msPerRow;
  }
}

/** What one call still counts after the next; and after one that was faster: calls are held up, and the first are cold. */
const CALL_DECAY = 0.9;
const FASTER_DECAY = 0.5;

/** Mean time of a kind of call, old ones fading. */
export class CallCost {
  #ms: number | undefined;
  #calls = 0;

  add(ms: number): void {
    this.#calls++;
    // The first is cold: of two the faster one.
    if (this.#ms === undefined || this.#calls === 2) {
      this.#ms = Math.min(ms, this.#ms ?? ms);
      return;
    }
    const decay = ms < this.#ms ? FASTER_DECAY : CALL_DECAY;
    this.#ms = decay * this.#ms + (1 - decay) * Math.min(ms, OUTLIER * this.#ms);
  }

  /** 0 while nothing is known. */
  get ms(): number {
    return this.#ms ?? 0;
  }
}
