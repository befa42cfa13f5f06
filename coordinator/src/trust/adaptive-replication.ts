/**
 * How much of a peer's work is checked: BOINC's adaptive replication, by rows instead of jobs. BOINC keeps, for each host,
 * the number CV of consecutive valid results; below 10 every job is replicated, above it one in CV, and an invalid result
 * makes CV zero (BOINC wiki, "Adaptive replication"). Here v counts rows found right since the last failure, and
 *
 *     share(v) = 1 for v < N,  max(MIN_AUDIT_SHARE, N / v) from there on
 *
 * with N = PROBATION_ROWS: BOINC's 1 / CV in units of N rows, and without its jump at the threshold.
 */

/**
 * Rows in shadow before a peer serves. A fault that spoils one row in 20 passes 64 with a probability of 4 %, one in 10 with
 * 0.1 %; and 64 rows take a tab about as long as its self-test.
 */
export const PROBATION_ROWS = 64;

/**
 * The share never falls below this. At 2 % one row of each 50 is checked (RowDraw), so that a peer whose rows are all wrong
 * is caught within 99 of them; by coin tosses it would take 500 rows to be as good as certain (1 − 0.98⁵⁰⁰ = 0.99996).
 * The coordinator computes 2 % of the expert work again, which costs it about 2 % of what its tabs save it.
 */
export const MIN_AUDIT_SHARE = 0.02;

/** Share of a peer's rows that are audited after `verifiedRows` in a row were right. */
export function auditShare(verifiedRows: number): number {
  return verifiedRows < PROBATION_ROWS ? 1 : Math.max(MIN_AUDIT_SHARE, PROBATION_ROWS / verifiedRows);
}

/** A uniform integer from 0 up to (not with) `below`, which nobody else can foresee. */
export type Draw = (below: number) => number;

/**
 * Which rows are audited: exactly one, drawn anew, of each ⌊1 / share⌋ in a row. Every row is as likely as in independent
 * tosses, but no long run goes unchecked.
 */
export class RowDraw {
  readonly #draw: Draw;
  #length = 0;
  #chosen = 0;
  #at = 0;

  constructor(draw: Draw) {
    this.#draw = draw;
  }

  /** Whether the next row is to be audited. */
  next(share: number): boolean {
    if (this.#at === this.#length) {
      this.#length = Math.max(1, Math.floor(1 / share));
      this.#chosen = this.#draw(this.#length);
      this.#at = 0;
    }
    return this.#at++ === this.#chosen;
  }
}
