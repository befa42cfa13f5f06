import { randomBytes, randomInt } from 'node:crypto';
import { createRng, type WorkItem } from '@shoal/model';
import type { AdapterInfo, RowFormat } from '@shoal/protocol';
import type { LapClient } from '../laps/lap-client.ts';
import type { LocalCompute } from '../local-experts/compute.ts';
import { type AuditedPeer, Auditor } from './auditor.ts';
import { backendOf, boundsFor } from './bounds.ts';
import { Judge } from './judge.ts';
import type { NormLimits } from './norm-limits.ts';
import { type DonorRecord, PeerTrust } from './peer-trust.ts';
import { runProbation } from './probation.ts';
import { Quarantine, type Suspect } from './quarantine.ts';
import { ProbationRows } from './probation-rows.ts';

/** Donors whose record is kept, at about 100 B each. */
const MAX_DONORS = 20_000;

export interface TrustOptions {
  local: LocalCompute;
  /** Reads its weights anew each time. */
  recheck: LocalCompute;
  norms: NormLimits;
  /** Names the very experts (Manifest.modelDigest). */
  modelDigest: string;
  numExpertsPerTok: number;
  /** The gain of the norm before a layer's experts, [hiddenSize]. */
  normGain: (layer: number) => Float32Array;
  /** The coordinator could not compute an audit itself. */
  onError?: (error: unknown) => void;
}

/** What there is to say of a peer that was found out. */
export interface Wrong {
  /** A hash of the token of its donor, all of whose tabs are kept out. */
  donorId: string;
  /** What was wrong, to follow "gave ". */
  what: string;
  /** Rows of the peer that entered answers. */
  usedRows: number;
  /** Of those, rows since the last one found right that nobody has checked. */
  uncheckedRows: number;
  /** Until when its donor is kept out, in epoch milliseconds. */
  untilMs: number;
}

export interface TrustedPeer extends AuditedPeer, Suspect {}

/** How far each peer is believed: shadow rows before it serves, audits while it does, quarantine after a failure. */
export class Trust {
  readonly quarantine = new Quarantine();
  readonly judge: Judge;
  /** Told of a peer whose result is wrong beyond doubt; its trust says `quarantined` already. */
  onWrong: (peerId: string, wrong: Wrong) => void = () => {};

  readonly #options: TrustOptions;
  readonly #auditor: Auditor<TrustedPeer>;
  readonly #rows: ProbationRows;
  readonly #donors = new Map<string, DonorRecord>();
  /** Of the coordinator's own computing for audits. */
  readonly #meter = { busyMs: 0 };
  /** Rows compared in probation, and answers refused for their norm. */
  readonly #counts = { probationRight: 0, probationWrong: 0, absurd: 0, unchecked: 0 };

  constructor(options: TrustOptions) {
    this.#options = options;
    this.judge = new Judge({
      compute: (request) => options.local.compute(request, this.#meter),
      recompute: (request) => options.recheck.compute(request, this.#meter),
    });
    this.#auditor = new Auditor({
      judge: this.judge,
      busyMs: () => this.#meter.busyMs,
      onWrong: (peer) => this.#wrong(peer, 'wrong results'),
      onError: (error) => options.onError?.(error),
    });
    this.#rows = new ProbationRows({ ...options, draw: (below) => randomInt(below) });
  }

  /** Rows compared since start, by what was found. `pending` wait to be audited. */
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

  /** The trust of a new visit. `donorId`: a hash of the donor's token. */
  visit(donorId: string, adapter: Pick<AdapterInfo, 'architecture'>, rowFormat: RowFormat = 'f16'): PeerTrust {
    const record = this.#donors.get(donorId) ?? { consecutiveRight: 0, verifiedRows: 0 };
    this.#donors.delete(donorId);
    this.#donors.set(donorId, record);
    for (const oldest of this.#donors.keys()) {
      if (this.#donors.size <= MAX_DONORS) break;
      this.#donors.delete(oldest);
    }
    const bounds = boundsFor(this.#options.modelDigest, backendOf(adapter), rowFormat);
    return new PeerTrust(record, bounds, (below) => randomInt(below));
  }

  /**
   * Let a peer that holds these experts, tested, serve its first rows in shadow. False if one was wrong: onWrong was told.
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
    this.#wrong(peer, 'wrong results in probation');
    return false;
  }

  /** A lap is about to be sent: keep one of its rows for peers in probation. Shapes as in MoeCall, rows in f16. */
  note(layer: number, rows: Uint16Array, numRows: number, topkIdx: Uint16Array, topkWeights: Float32Array): void {
    this.#rows.note(layer, rows, numRows, topkIdx, topkWeights);
  }

  /** Whether an answer (f16 bits) may be used; an absurd one is a failure of its peer. What may be used is audited by chance. */
  accepts(peer: TrustedPeer, request: WorkItem, partial: Uint16Array): boolean {
    if (peer.trust.phase !== 'trusted') return false;
    if (this.#options.norms.absurdRow(request, partial) !== undefined) {
      peer.trust.wrong();
      this.#counts.absurd++;
      this.#wrong(peer, 'a result of absurd size');
      return false;
    }
    this.#auditor.observe(peer, request, partial);
    return true;
  }

  /** Another tab of a peer's donor was found out: nothing of it is believed any more. */
  expel({ trust }: TrustedPeer): void {
    if (trust.phase === 'quarantined') return;
    trust.expel();
    this.#counts.unchecked += trust.uncheckedRows;
  }

  /** A failure of a donor; returns until when it is kept out, in epoch milliseconds. As in Quarantine.add. */
  exclude(suspect: Suspect, harmless = false): number {
    const record = this.#donors.get(suspect.donorId);
    if (record) record.consecutiveRight = 0;
    return this.quarantine.add(suspect, harmless);
  }

  /** Once a second. */
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
    this.onWrong(peer.peerId, { donorId, what, usedRows, uncheckedRows, untilMs: this.exclude(peer) });
  }
}
