import { randomBytes, randomInt } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { createRng, type RowSource, type WorkItem } from '@shoal/model';
import type { AdapterInfo, RowFormat } from '@shoal/protocol';
import { setNewest } from '../base/newest.ts';
import type { LapClient } from '../laps/lap-client.ts';
import type { LocalCompute } from '../local-experts/local-compute.ts';
import { MIN_AUDIT_SHARE } from './audit-share.ts';
import { type AuditedPeer, Auditor } from './auditor.ts';
import { backendOf, boundsFor } from './bounds.ts';
import { Judge } from './judge.ts';
import type { NormLimits } from './norm-limits.ts';
import { PeerTrust, type TrustRecord } from './peer-trust.ts';
import { runProbation } from './probation.ts';
import { ProbationRows } from './probation-rows.ts';
import { type KeptEntry, Quarantine, type Suspect } from './quarantine.ts';

/** Donors whose record is kept, at about 100 B each. */
const MAX_DONORS = 20_000;

export interface TrustOptions {
  local: LocalCompute;
  /** Reads its weights from disk each time. */
  recheck: LocalCompute;
  norms: NormLimits;
  /** An empty one by default. */
  quarantine?: Quarantine;
  /** Manifest.modelDigest. */
  modelDigest: string;
  numExpertsPerTok: number;
  /** The gain of the norm before a layer's experts, [hiddenSize]. */
  normGain: (layer: number) => Float32Array;
  /** The coordinator could not compute an audit. */
  onError?: (error: unknown) => void;
}

/** A peer whose result was confirmed wrong. */
export interface Wrong {
  /** Its donor, all of whose tabs are quarantined. */
  donorId: string;
  /** What was wrong, as in "tab-1 gave wrong results". */
  what: string;
  /** Rows of the peer that entered answers. */
  usedRows: number;
  /** Those of `usedRows` since the last good audit that were not audited. */
  uncheckedRows: number;
  /** End of its donor's quarantine, in epoch milliseconds. */
  untilMs: number;
}

export interface TrustEvents {
  /** A peer's result is confirmed wrong; its trust is `quarantined` already. */
  wrong: [peerId: string, wrong: Wrong];
  /** A failure of a donor was counted here. */
  excluded: [suspect: Suspect];
}

/** Rows of a donor that were found right: since its last failure, and all. */
export type RightRows = readonly [donorId: string, consecutiveRight: number, verifiedRows: number];

export interface TrustedPeer extends AuditedPeer, Suspect {}

/** Probation before a peer serves, audits while it does, and quarantine after a wrong result. */
export class Trust {
  readonly quarantine: Quarantine;
  readonly judge: Judge;
  readonly events = new EventEmitter<TrustEvents>();
  /** Of a peer's rows that are audited, however long it has been right. May change at any time. */
  leastAuditShare = MIN_AUDIT_SHARE;

  readonly #options: TrustOptions;
  readonly #auditor: Auditor<TrustedPeer>;
  readonly #rows: ProbationRows;
  readonly #donors = new Map<string, TrustRecord>();
  /** Verified rows of a record that the other coordinators know of. */
  readonly #told = new WeakMap<TrustRecord, number>();
  /** Time that the coordinator has spent computing audits. */
  readonly #meter = { busyMs: 0 };
  /** Rows compared on probation, answers rejected for their norm, and unaudited rows of quarantined peers. */
  readonly #counts = { probationRight: 0, probationWrong: 0, absurd: 0, unchecked: 0 };

  constructor(options: TrustOptions) {
    this.#options = options;
    this.quarantine = options.quarantine ?? new Quarantine();
    this.judge = new Judge({
      compute: (item) => options.local.compute(item, this.#meter),
      recompute: (item) => options.recheck.compute(item, this.#meter),
    });
    this.#auditor = new Auditor({
      judge: this.judge,
      busyMs: () => this.#meter.busyMs,
      onWrong: (peer) => this.#wrong(peer, 'wrong results'),
      onError: (error) => options.onError?.(error),
    });
    this.#rows = new ProbationRows({ ...options, draw: (below) => randomInt(below) });
  }

  /** Rows compared since startup, by result. `pending`: rows waiting for their audit. */
  get counts() {
    const { right, wrong, incomparable, putOff } = this.#auditor.counts;
    const { probationRight, probationWrong, absurd, unchecked } = this.#counts;
    return {
      right: right + probationRight,
      wrong: wrong + probationWrong + absurd,
      incomparable,
      retracted: this.judge.retracted,
      pending: this.#auditor.pending,
      putOff,
      unchecked,
    };
  }

  /** Trust for a new visit. */
  visit(donorId: string, adapter: Pick<AdapterInfo, 'architecture'>, rowFormat: RowFormat = 'f16'): PeerTrust {
    const known = this.#donors.get(donorId) ?? { consecutiveRight: 0, verifiedRows: 0 };
    const record = setNewest(this.#donors, donorId, known, MAX_DONORS);
    const bounds = boundsFor(this.#options.modelDigest, backendOf(adapter), rowFormat);
    return new PeerTrust(
      record,
      bounds,
      (below) => randomInt(below),
      () => this.leastAuditShare,
    );
  }

  /**
   * Puts a peer with these tested experts on probation. Resolves to false, after a `wrong` event, if one of its rows was wrong.
   * Rejects with a LapError if the peer doesn't answer.
   */
  async probation(peer: TrustedPeer & { laps: LapClient }, held: ReadonlyMap<number, ReadonlySet<number>>) {
    if (peer.trust.phase !== 'probation') return peer.trust.phase === 'trusted';
    const rng = createRng(randomBytes(6).readUIntLE(0, 6));
    const before = peer.trust.auditedRows;
    const passed = await runProbation(peer.trust, { laps: peer.laps, judge: this.judge, rows: this.#rows, held, rng });
    this.#counts.probationRight += peer.trust.auditedRows - before - (passed ? 0 : 1);
    if (passed) return true;
    this.#counts.probationWrong++;
    this.#wrong(peer, 'wrong results on probation');
    return false;
  }

  /** Keeps one of these rows of a dispatch for peers on probation. */
  note(work: RowSource, rows: readonly number[]): void {
    this.#rows.note(work, rows);
  }

  /** Whether an answer may be used. If it may, some of its rows are audited; an absurd one quarantines the peer. */
  accepts(peer: TrustedPeer, item: WorkItem, partial: Float32Array): boolean {
    if (peer.trust.phase !== 'trusted') return false;
    if (this.#options.norms.absurdRow(item, partial) !== undefined) {
      peer.trust.wrong();
      this.#counts.absurd++;
      this.#wrong(peer, 'a result of absurd size');
      return false;
    }
    this.#auditor.observe(peer, item, partial);
    return true;
  }

  /** Quarantines a peer because another tab of its donor gave a wrong result. */
  expel(peer: TrustedPeer): void {
    const { trust } = peer;
    this.quarantine.spread(peer);
    if (trust.phase === 'quarantined') return;
    trust.expel();
    this.#counts.unchecked += trust.uncheckedRows;
  }

  /** Counts a failure of a donor. See Quarantine.add. */
  exclude(suspect: Suspect, harmless = false): number {
    const record = this.#donors.get(suspect.donorId);
    if (record) record.consecutiveRight = 0;
    const untilMs = this.quarantine.add(suspect, harmless);
    this.events.emit('excluded', suspect);
    return untilMs;
  }

  /** Takes up failures that another coordinator has counted. */
  hearExcluded(donorIds: readonly string[], entries: readonly KeptEntry[]): void {
    this.quarantine.merge(entries);
    for (const donorId of donorIds) {
      const record = this.#donors.get(donorId);
      if (record) record.consecutiveRight = 0;
    }
  }

  /** Rows that were found right here since the last call, by donor; at most so many donors. */
  takeRight(most: number): RightRows[] {
    const news: RightRows[] = [];
    for (const [donorId, record] of this.#donors) {
      const rows = record.verifiedRows - (this.#told.get(record) ?? 0);
      if (rows <= 0) continue;
      if (news.length === most) break;
      news.push([donorId, Math.min(rows, record.consecutiveRight), rows]);
      this.#told.set(record, record.verifiedRows);
    }
    return news;
  }

  /** What is known of the donors that were here last. */
  allRight(most: number): RightRows[] {
    const newest = [...this.#donors].slice(-most);
    return newest.map(([donorId, { consecutiveRight, verifiedRows }]) => [donorId, consecutiveRight, verifiedRows]);
  }

  /** Counts rows that another coordinator has found right. `isAll`: these are all that it knows of, rather than new ones. */
  hearRight(rows: readonly RightRows[], isAll: boolean): void {
    for (const [donorId, consecutive, verified] of rows) {
      const record = this.#donors.get(donorId) ?? { consecutiveRight: 0, verifiedRows: 0 };
      const before = record.verifiedRows;
      record.consecutiveRight = isAll
        ? Math.max(record.consecutiveRight, consecutive)
        : record.consecutiveRight + consecutive;
      record.verifiedRows = isAll ? Math.max(before, verified) : before + verified;
      this.#told.set(record, (this.#told.get(record) ?? 0) + record.verifiedRows - before);
      setNewest(this.#donors, donorId, record, MAX_DONORS);
    }
  }

  /** Called once a second. */
  tick(): void {
    this.#rows.tick();
  }

  close(): void {
    this.#auditor.close();
  }

  #wrong(peer: TrustedPeer, what: string): void {
    const { donorId } = peer;
    const { usedRows, uncheckedRows } = peer.trust;
    this.#counts.unchecked += uncheckedRows;
    const untilMs = this.exclude(peer);
    this.events.emit('wrong', peer.peerId, { donorId, what, usedRows, uncheckedRows, untilMs });
  }
}
