import { randomInt } from 'node:crypto';
import type { RowFormat } from '@shoal/protocol';
import { uncalibrated } from './bounds.ts';
import type { Bounds } from './compare.ts';
import { auditShare, type Draw, RowDraw } from './adaptive-replication.ts';
import { ExpertCoverage, type UsedRow } from './expert-coverage.ts';

/** What is known of a donor's work over all its visits since the coordinator started. */
export interface DonorRecord {
  /** Rows found right since the last failure: what the audited share follows. */
  consecutiveRight: number;
  /** Rows found right in all: the donor's credit. */
  verifiedRows: number;
}

export type TrustPhase = 'probation' | 'trusted' | 'quarantined';

/** One visit of a donor: how far it is trusted, and how much of its work was looked at. */
export class PeerTrust {
  phase: TrustPhase = 'probation';
  /** Rows of this visit that were compared: shadow rows and audits. */
  auditedRows = 0;
  /** Of those, rows that were wrong. */
  failures = 0;
  /** Rows that entered answers; the n-th has the number n. */
  usedRows = 0;
  /** Number of the last used row that was found right; 0 before any. */
  lastGoodRow = 0;
  /** Rows that entered answers since the last one found right, and that nobody has checked; set when a failure shows. */
  uncheckedRows = 0;
  readonly record: DonorRecord;
  readonly bounds: Bounds;
  /** Rows that were to be audited and found no room: their turn passed to a later row. */
  putOff = 0;
  readonly #draw: RowDraw;
  readonly #coverage: ExpertCoverage;
  #owed = false;

  constructor(record: DonorRecord, bounds: Bounds, draw: Draw) {
    this.record = record;
    this.bounds = bounds;
    this.#draw = new RowDraw(draw);
    this.#coverage = new ExpertCoverage(draw);
  }

  get auditShare(): number {
    return this.phase === 'trusted' ? auditShare(this.record.consecutiveRight) : 1;
  }

  /**
   * Count a row that enters an answer; whether it is to be audited: because it was drawn, or because one of its experts has
   * waited long enough. With no `room` for it, the next row (of that expert) takes its place. A drawn debt is one row at most,
   * so that a busy spell is not paid for in bulk.
   */
  use(row: UsedRow, room: boolean): boolean {
    this.usedRows++;
    const due = this.#coverage.use(row);
    if (this.#draw.next(this.auditShare)) this.#owed = true;
    if (!this.#owed && !due) return false;
    if (!room) {
      this.putOff++;
      return false;
    }
    this.#owed = false;
    this.#coverage.audited(row);
    return true;
  }

  /** A row was compared and is right; `usedRow` is its number among the used ones, if it was. */
  right(usedRow?: number): void {
    this.auditedRows++;
    this.record.consecutiveRight++;
    this.record.verifiedRows++;
    if (usedRow !== undefined) this.lastGoodRow = Math.max(this.lastGoodRow, usedRow);
  }

  /** Another tab of its donor was found out: what this one has done since its last good row is in doubt as well. */
  expel(): void {
    this.uncheckedRows = this.usedRows - this.lastGoodRow;
    this.phase = 'quarantined';
  }

  /** A row is wrong beyond doubt. Whoever was used before has to be taken for wrong since the last good row. */
  wrong(usedRow?: number): void {
    this.uncheckedRows = this.usedRows - this.lastGoodRow - (usedRow === undefined ? 0 : 1);
    this.auditedRows++;
    this.failures++;
    this.record.consecutiveRight = 0;
    this.phase = 'quarantined';
  }
}

/** Of a peer that nobody checks beyond its self-test. */
export function believed(rowFormat: RowFormat): PeerTrust {
  const bounds = uncalibrated(rowFormat);
  const trust = new PeerTrust({ consecutiveRight: 0, verifiedRows: 0 }, bounds, (below) => randomInt(below));
  trust.phase = 'trusted';
  return trust;
}
