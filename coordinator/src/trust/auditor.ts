import { decodeF16, type WorkItem, sliceRows, copyWorkItem } from '@shoal/model';
import type { Judge } from './judge.ts';
import type { PeerTrust } from './peer-trust.ts';

/** A peer as audits see it. */
export interface AuditedPeer {
  readonly peerId: string;
  readonly trust: PeerTrust;
}

export interface AuditorOptions<P extends AuditedPeer> {
  judge: Judge;
  /** Milliseconds of the coordinator's own computing for audits so far. */
  busyMs: () => number;
  /** A row is wrong beyond doubt; the peer's trust says so already. */
  onWrong: (peer: P) => void;
  /** The coordinator could not compute a row itself. */
  onError: (error: unknown) => void;
  /** Resolves after so many milliseconds. */
  pause?: (ms: number) => Promise<void>;
}

/** Rows of one peer that wait to be audited. Beyond it the peer's next rows wait their turn (PeerTrust.use). */
const MAX_PENDING_PER_PEER = 16;
/** Of all peers; at V3's width a row and its answer take 28 KB. */
const MAX_PENDING = 1024;
/** Share of one processor that audits may take. The engine computes on the same thread. */
const AUDIT_CPU_SHARE = 0.1;

interface PendingAudit {
  request: WorkItem;
  /** f16 bits, [hiddenSize] */
  answer: Uint16Array;
  usedRow: number;
}

/**
 * Recomputes a random share of the rows that peers have answered, after their answers went on: one at a time, peers taking
 * turns, within a budget of the processor's time.
 */
export class Auditor<P extends AuditedPeer> {
  readonly #options: AuditorOptions<P>;
  /** In order of turns. */
  readonly #pending = new Map<P, PendingAudit[]>();
  #size = 0;
  #running = false;
  #closed = false;
  /**
   * Rows of answers that were found right or wrong, or that could not be compared; and rows that were to be audited and found
   * no room, so that later ones took their turn.
   */
  readonly counts = { right: 0, wrong: 0, incomparable: 0, putOff: 0 };

  constructor(options: AuditorOptions<P>) {
    this.#options = options;
  }

  /** Rows that wait. */
  get pending(): number {
    return this.#size;
  }

  /** A peer's answer (f16 bits, [numRows, hiddenSize]) has entered a lap: draw which of its rows to audit. */
  observe(peer: P, request: WorkItem, partial: Uint16Array): void {
    const D = request.rows.length / request.numRows;
    for (let row = 0; row < request.numRows; row++) {
      const queue = this.#pending.get(peer);
      const room = (queue?.length ?? 0) < MAX_PENDING_PER_PEER && this.#size < MAX_PENDING && !this.#closed;
      const putOffBefore = peer.trust.putOff;
      const used = sliceRows(request, row);
      const chosen = peer.trust.use(used, room);
      this.counts.putOff += peer.trust.putOff - putOffBefore;
      if (!chosen) continue;
      const answer = partial.slice(row * D, (row + 1) * D);
      const audit = { request: copyWorkItem(used), answer, usedRow: peer.trust.usedRows };
      if (queue) queue.push(audit);
      else this.#pending.set(peer, [audit]);
      this.#size++;
    }
    if (this.#size > 0 && !this.#running) void this.#run();
  }

  /** What waits is dropped. */
  close(): void {
    this.#closed = true;
    this.#pending.clear();
    this.#size = 0;
  }

  async #run(): Promise<void> {
    this.#running = true;
    // Off the lap's own path.
    await this.#pause(0);
    for (let next = this.#take(); next !== undefined; next = this.#take()) {
      const before = this.#options.busyMs();
      await this.#audit(next.peer, next.audit);
      await this.#pause((this.#options.busyMs() - before) * (1 / AUDIT_CPU_SHARE - 1));
    }
    this.#running = false;
  }

  /** The oldest row of the peer whose turn it is. */
  #take(): { peer: P; audit: PendingAudit } | undefined {
    const turn = this.#pending.entries().next();
    if (turn.done) return undefined;
    const [peer, queue] = turn.value;
    this.#pending.delete(peer);
    const audit = queue.shift()!;
    this.#size--;
    if (queue.length > 0) this.#pending.set(peer, queue);
    return { peer, audit };
  }

  async #audit(peer: P, { request, answer, usedRow }: PendingAudit): Promise<void> {
    const { trust } = peer;
    if (trust.phase === 'quarantined') return;
    try {
      const [verdict] = await this.#options.judge.rows(request, decodeF16(answer), trust.bounds);
      this.counts[verdict!]++;
      if (verdict === 'right') trust.right(usedRow);
      if (verdict !== 'wrong') return;
    } catch (error) {
      return this.#options.onError(error);
    }
    trust.wrong(usedRow);
    this.#forget(peer);
    this.#options.onWrong(peer);
  }

  #forget(peer: P): void {
    this.#size -= this.#pending.get(peer)?.length ?? 0;
    this.#pending.delete(peer);
  }

  #pause(ms: number): Promise<void> {
    if (this.#options.pause) return this.#options.pause(ms);
    return new Promise((resolve) => {
      setTimeout(resolve, ms).unref();
    });
  }
}
