import { randomInt } from 'node:crypto';
import type { RowFormat } from '@shoal/protocol';
import { auditShare, type Draw, MIN_AUDIT_SHARE, RowDraw } from './audit-share.ts';
import { uncalibrated } from './bounds.ts';
import type { Bounds } from './compare.ts';
import { ExpertCoverage, type UsedRow } from './expert-coverage.ts';

/**
 * Rows of a peer that may be used, or be on their way, beyond the last one that was audited: half of the largest lap for a new
 * peer, and four of these for one that has long been right. With fewer for a new peer, the coordinator would compute a fifth of
 * what a swarm of new tabs could, while their audits are in the queue.
 */
export const ROWS_AHEAD = { least: 256, most: 2048 };

/** A donor's audited work over all its visits since startup. */
export interface TrustRecord {
  /** Correct rows since the last failure; determines the audited share. */
  consecutiveRight: number;
  /** All correct rows: the donor's credit. */
  verifiedRows: number;
}

export type TrustPhase = 'probation' | 'trusted' | 'quarantined';

/** How far a peer is trusted during one visit, and how much of its work was audited. */
export class PeerTrust {
  phase: TrustPhase = 'probation';
  /** Rows of this visit that were compared, on probation or in audits. */
  auditedRows = 0;
  /** Those of `auditedRows` that were wrong. */
  failures = 0;
  /** Rows that entered answers, numbered from 1. */
  usedRows = 0;
  /** Number of the last used row that was audited and right; 0 if there is none. */
  lastGoodRow = 0;
  /** Number of the last used row that was audited, or could not be. */
  #lastAuditedRow = 0;
  /** Used rows since `lastGoodRow` that were not audited; set when the peer is quarantined. */
  uncheckedRows = 0;
  readonly record: TrustRecord;
  readonly bounds: Bounds;
  /** Rows due for an audit for which there was no room, so that a later row was audited instead. */
  putOff = 0;
  readonly #draw: RowDraw;
  readonly #leastShare: () => number;
  readonly #coverage: ExpertCoverage;
  #owed = false;

  /** `leastShare`: of its rows that are audited, however long it has been right; asked at every row. */
  constructor(record: TrustRecord, bounds: Bounds, draw: Draw, leastShare: () => number = () => MIN_AUDIT_SHARE) {
    this.record = record;
    this.bounds = bounds;
    this.#draw = new RowDraw(draw);
    this.#leastShare = leastShare;
    this.#coverage = new ExpertCoverage(draw);
  }

  get auditShare(): number {
    return this.phase === 'trusted' ? auditShare(this.record.consecutiveRight, this.#leastShare()) : 1;
  }

  /** How little is known of it: the share of its rows that would be audited if the operator asked for no more. */
  get doubt(): number {
    return this.phase === 'trusted' ? auditShare(this.record.consecutiveRight) : 1;
  }

  /**
   * Rows that may be used without another audit. An audit comes after the answer was passed on, so a single large lap of a new
   * peer could spoil more rows than it has ever computed correctly: it may be ahead by about as many as were right.
   */
  get rowsAhead(): number {
    const most = Math.min(ROWS_AHEAD.most, Math.max(ROWS_AHEAD.least, this.record.consecutiveRight));
    return Math.max(0, most - (this.usedRows - this.#lastAuditedRow));
  }

  /** The audit of a used row is over. */
  audited(usedRow: number): void {
    this.#lastAuditedRow = Math.max(this.#lastAuditedRow, usedRow);
  }

  /**
   * Counts a row that enters an answer. Returns whether to audit it, because it was drawn or because one of its experts is due.
   * Without `room`, the next row (of that expert) is audited instead. At most one drawn row is owed, so that a busy period
   * causes no backlog.
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

  /** Counts a correct row; `usedRow` is its number if it was used. */
  right(usedRow?: number): void {
    this.auditedRows++;
    this.record.consecutiveRight++;
    this.record.verifiedRows++;
    if (usedRow !== undefined) this.lastGoodRow = Math.max(this.lastGoodRow, usedRow);
  }

  /** Quarantines the peer because another tab of its donor was wrong: its own rows since the last good one are in doubt too. */
  expel(): void {
    this.uncheckedRows = this.usedRows - this.lastGoodRow;
    this.phase = 'quarantined';
  }

  /** Counts a wrong row and quarantines the peer. All rows used since the last good one may be wrong too. */
  wrong(usedRow?: number): void {
    this.uncheckedRows = this.usedRows - this.lastGoodRow - (usedRow === undefined ? 0 : 1);
    this.auditedRows++;
    this.failures++;
    this.record.consecutiveRight = 0;
    this.phase = 'quarantined';
  }
}

/** The trust of a peer that is not checked beyond its known-answer test. */
export function believed(rowFormat: RowFormat): PeerTrust {
  const bounds = uncalibrated(rowFormat);
  const trust = new BelievedTrust({ consecutiveRight: 0, verifiedRows: 0 }, bounds, (below) => randomInt(below));
  trust.phase = 'trusted';
  return trust;
}

class BelievedTrust extends PeerTrust {
  override get rowsAhead(): number {
    return Number.POSITIVE_INFINITY;
  }
}
