import type { PeerTrust } from '../trust/peer-trust.ts';

/** Points at which a visit's tokens and rows were looked at, beyond the last that is confirmed: a minute of them, and then coarser. */
const MAX_POINTS = 32;

interface Point {
  rows: number;
  tokens: number;
}

/**
 * Which work of a visit earns credit: tokens that came before a row that was audited and right. What follows the last such row waits
 * for the next one, and is credited to no donor if the tab is found to compute wrongly, or leaves. A lie is found within 99 rows
 * (MIN_AUDIT_SHARE), so a liar's credit ends before its first wrong row but for these.
 */
export class ConfirmedWork {
  #confirmed: Point = { rows: 0, tokens: 0 };
  #points: Point[] = [];

  /**
   * Takes a look at a visit. `tokens`: that it has helped with so far. Returns how many rows and tokens are confirmed by now.
   */
  look(trust: Pick<PeerTrust, 'usedRows' | 'lastGoodRow'>, tokens: number): Readonly<Point> {
    const { usedRows: rows, lastGoodRow } = trust;
    const last = this.#points.at(-1) ?? this.#confirmed;
    if (rows > last.rows || tokens > last.tokens) {
      if (this.#points.length === MAX_POINTS || last.rows === rows) this.#points.pop();
      this.#points.push({ rows, tokens });
    }
    while (this.#points[0] && this.#points[0].rows <= lastGoodRow) this.#confirmed = this.#points.shift()!;
    const next = this.#points[0];
    if (next && lastGoodRow > this.#confirmed.rows) {
      // The rows between two looks are taken to have brought tokens evenly.
      const part = (lastGoodRow - this.#confirmed.rows) / (next.rows - this.#confirmed.rows);
      const between = Math.floor(this.#confirmed.tokens + part * (next.tokens - this.#confirmed.tokens));
      this.#confirmed = { rows: lastGoodRow, tokens: between };
    }
    return this.#confirmed;
  }
}
