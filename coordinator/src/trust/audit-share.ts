/**
 * The share of a peer's work that is audited: BOINC's adaptive replication, with rows instead of jobs. For each host, BOINC
 * keeps the number CV of consecutive valid results; below 10 it replicates every job, above it one in CV, and an invalid
 * result sets CV to zero (BOINC wiki, "Adaptive replication"). Here v counts correct rows since the last failure, and
 *
 *     share(v) = 1 for v < N, max(MIN_AUDIT_SHARE, N / v) otherwise
 *
 * with N = PROBATION_ROWS: BOINC's 1 / CV in units of N rows, without its jump at the threshold.
 */

/**
 * Rows that a new peer computes on probation. A fault that spoils one row in 20 passes 64 rows with a probability of 4 %, one
 * in 10 with 0.1 %; and 64 rows take a tab about as long as the known-answer test.
 */
export const PROBATION_ROWS = 64;

/**
 * Lowest audited share. At 2 %, one row in each 50 is audited (RowDraw), so a peer whose rows are all wrong is caught within
 * 99 rows; independent draws would need 500 to be nearly certain (1 − 0.98⁵⁰⁰ = 0.99996). The coordinator computes 2 % of
 * the expert work again, about 2 % of what its tabs save it.
 */
export const MIN_AUDIT_SHARE = 0.02;

/** The share of rows to audit after `verifiedRows` correct rows without a failure; never below `least`. */
export function auditShare(verifiedRows: number, least = MIN_AUDIT_SHARE): number {
  return verifiedRows < PROBATION_ROWS ? 1 : Math.max(least, PROBATION_ROWS / verifiedRows);
}

/** A uniform integer in [0, below) that peers cannot predict. */
export type Draw = (below: number) => number;

/**
 * Draws one row to audit out of each ⌊1 / share⌋ consecutive rows. Every row is as likely to be drawn as independently, but
 * no long run goes unaudited.
 */
export class RowDraw {
  readonly #draw: Draw;
  #length = 0;
  #chosen = 0;
  #at = 0;

  constructor(draw: Draw) {
    this.#draw = draw;
  }

  /** Whether to audit the next row. */
  next(share: number): boolean {
    if (this.#at === this.#length) {
      this.#length = Math.max(1, Math.floor(1 / share));
      this.#chosen = this.#draw(this.#length);
      this.#at = 0;
    }
    return this.#at++ === this.#chosen;
  }
}
