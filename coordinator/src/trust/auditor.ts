import { copyWorkItem, sliceRows, type WorkItem } from '@shoal/model';
import type { Judge } from './judge.ts';
import { type PeerTrust, ROWS_AHEAD } from './peer-trust.ts';

export interface AuditedPeer {
  readonly peerId: string;
  readonly trust: PeerTrust;
}

export interface AuditorOptions<P extends AuditedPeer> {
  judge: Judge;
  /** Milliseconds that the coordinator has spent computing audits. */
  busyMs: () => number;
  /** A row is confirmed wrong. The peer's trust is updated already. */
  onWrong: (peer: P) => void;
  /** The coordinator could not compute a row. */
  onError: (error: unknown) => void;
  pause?: (ms: number) => Promise<void>;
}

/** Rows of one peer waiting for their audit. Beyond this, a later row of the peer is audited instead (PeerTrust.use). */
const MAX_PENDING_PER_PEER = 16;
/** Rows of all peers waiting for their audit; at V3's width, a row and its answer take 43 KB. */
const MAX_PENDING = 1024;
/** With fewer rows left to a peer, its newest row is audited first: only that one lets it go on for long. */
const HURRY_BELOW_ROWS = ROWS_AHEAD.least / 2;
/** Share of one CPU core that audits may take. */
const AUDIT_CPU_SHARE = 0.1;

interface PendingAudit {
  item: WorkItem;
  /** [hiddenSize] */
  answer: Float32Array;
  usedRow: number;
}

/**
 * Recomputes a random share of the rows that peers have answered, after their answers were used: one at a time, with peers
 * taking turns, within a budget of CPU time.
 */
export class Auditor<P extends AuditedPeer> {
  readonly #options: AuditorOptions<P>;
  /** In the order of the peers' turns. */
  readonly #pending = new Map<P, PendingAudit[]>();
  #size = 0;
  #running = false;
  #closed = false;
  /** Audited rows by verdict; `putOff`: rows drawn for an audit when the queue was full, so that a later row was audited instead. */
  readonly counts = { right: 0, wrong: 0, incomparable: 0, putOff: 0 };

  constructor(options: AuditorOptions<P>) {
    this.#options = options;
  }

  /** Rows waiting for their audit. */
  get pending(): number {
    return this.#size;
  }

  /** A peer's answer ([numRows, hiddenSize]) was used: draws the rows to audit. */
  observe(peer: P, item: WorkItem, partial: Float32Array): void {
    const hiddenSize = item.rows.length / item.numRows;
    for (let row = 0; row < item.numRows; row++) {
      const queue = this.#pending.get(peer);
      const waiting = queue?.length ?? 0;
      // One of each peer is always taken: without an audit it would soon be given no more rows (PeerTrust.rowsAhead).
      const room = !this.#closed && (waiting === 0 || (waiting < MAX_PENDING_PER_PEER && this.#size < MAX_PENDING));
      const putOffBefore = peer.trust.putOff;
      const used = sliceRows(item, row);
      const chosen = peer.trust.use(used, room);
      this.counts.putOff += peer.trust.putOff - putOffBefore;
      if (!chosen) continue;
      const answer = partial.slice(row * hiddenSize, (row + 1) * hiddenSize);
      const audit = { item: copyWorkItem(used), answer, usedRow: peer.trust.usedRows };
      if (queue) queue.push(audit);
      else this.#pending.set(peer, [audit]);
      this.#size++;
    }
    if (this.#size > 0 && !this.#running) void this.#run();
  }

  /** Drops all waiting audits. */
  close(): void {
    this.#closed = true;
    this.#pending.clear();
    this.#size = 0;
  }

  async #run(): Promise<void> {
    this.#running = true;
    // Lets the lap finish first.
    await this.#pause(0);
    for (let next = this.#take(); next !== undefined; next = this.#take()) {
      const before = this.#options.busyMs();
      await this.#audit(next.peer, next.audit);
      await this.#pause((this.#options.busyMs() - before) * (1 / AUDIT_CPU_SHARE - 1));
    }
    this.#running = false;
  }

  /** The oldest waiting row of the peer whose turn it is, or the newest if it may soon be given no more rows before an audit. */
  #take(): { peer: P; audit: PendingAudit } | undefined {
    const turn = this.#pending.entries().next();
    if (turn.done) return undefined;
    const [peer, queue] = turn.value;
    this.#pending.delete(peer);
    const audit = peer.trust.rowsAhead < HURRY_BELOW_ROWS ? queue.pop()! : queue.shift()!;
    this.#size--;
    if (queue.length > 0) this.#pending.set(peer, queue);
    return { peer, audit };
  }

  async #audit(peer: P, { item, answer, usedRow }: PendingAudit): Promise<void> {
    const { trust } = peer;
    if (trust.phase === 'quarantined') return;
    try {
      const [verdict] = await this.#options.judge.rows(item, answer, trust.bounds);
      this.counts[verdict!]++;
      if (verdict === 'right') trust.right(usedRow);
      if (verdict !== 'wrong') return;
    } catch (error) {
      return this.#options.onError(error);
    } finally {
      // Also when the coordinator could not compute it, which says nothing about the peer.
      trust.audited(usedRow);
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
    return this.#options.pause?.(ms) ?? new Promise((resolve) => void setTimeout(resolve, ms).unref());
  }
}
