import { sql } from 'kysely';
import type { Database, WriteQueue } from '../database/index.ts';
import type { DonorHistory } from '../swarm/donor-records.ts';
import type { PeerSession } from '../swarm/peer-session.ts';
import type { Swarm } from '../swarm/swarm.ts';
import type { TrustRecord } from '../trust/peer-trust.ts';
import { dayOf, DONOR_DAYS, DONORS } from './books.ts';

/** Between two looks at what the tabs have done. */
const SAMPLE_MS = 2_000;
/** Audits of a tab's last rows end within this time after it has left. */
const AFTERMATH_MS = 30_000;
const RETRY_MS = 5_000;

/** What a visit has been credited with, as of the last look. */
interface Seen {
  tokens: number;
  verified: number;
  rows: number;
  /** When the tab left, by performance.now(). */
  leftMs?: number;
}

/**
 * Writes what donors' tabs do, by day, and tells the swarm what they did before: when a donor comes whom this process does not
 * know, its totals are read in the background and added. Until then nothing of it is written, so that it is not counted twice.
 */
export class DonorWork {
  readonly #database: Database;
  readonly #queue: WriteQueue;
  readonly #swarm: Swarm;
  readonly #visits = new Map<PeerSession, Seen>();
  /** What already has the totals of earlier processes. */
  readonly #complete = new WeakSet<DonorHistory | TrustRecord>();
  readonly #recalling = new Set<string>();
  readonly #add: ReturnType<typeof addTo>;
  readonly #seen: (row: { donor: string }) => void;
  readonly #timer: NodeJS.Timeout;
  #closed = false;

  constructor(database: Database, queue: WriteQueue, swarm: Swarm) {
    this.#database = database;
    this.#queue = queue;
    this.#swarm = swarm;
    this.#add = addTo(queue);
    this.#seen = queue.rowsOf(DONORS);
    swarm.visits.on('joined', this.#joined);
    swarm.visits.on('left', this.#left);
    this.#timer = setInterval(() => this.sample(), SAMPLE_MS).unref();
  }

  /** Hands over what was done since the last look. */
  sample(): void {
    for (const [peer, seen] of this.#visits) {
      const isOver = seen.leftMs !== undefined && performance.now() - seen.leftMs > AFTERMATH_MS;
      if (this.#recalling.has(peer.donorId) && !this.#closed && !isOver) continue;
      const { tokensHelped: tokens, trust } = peer;
      const verified = trust.auditedRows - trust.failures;
      const rows = trust.usedRows;
      if (tokens > seen.tokens || verified > seen.verified || rows > seen.rows) {
        const more = {
          tokens_helped: tokens - seen.tokens,
          verified_rows: verified - seen.verified,
          rows: rows - seen.rows,
        };
        this.#add({ donor: peer.donorId, day: dayOf(Date.now()) }, more);
        // Not at its join already: whoever only joins, under any number of names, leaves nothing here.
        if (seen.rows === 0 && seen.tokens === 0 && seen.verified === 0) this.#seen({ donor: peer.donorId });
        Object.assign(seen, { tokens, verified, rows });
      }
      if (isOver) this.#visits.delete(peer);
    }
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#swarm.visits.off('joined', this.#joined);
    this.#swarm.visits.off('left', this.#left);
    this.sample();
  }

  readonly #joined = (peer: PeerSession): void => {
    this.#visits.set(peer, { tokens: 0, verified: 0, rows: 0 });
    void this.#recall(peer);
  };

  readonly #left = (peer: PeerSession): void => {
    const seen = this.#visits.get(peer);
    if (!seen) return;
    seen.leftMs = performance.now();
    if (seen.rows > 0) this.#seen({ donor: peer.donorId });
  };

  async #recall({ donorId, donor, trust: { record } }: PeerSession): Promise<void> {
    const isNew = { donor: !this.#complete.has(donor), record: !this.#complete.has(record) };
    this.#complete.add(donor).add(record);
    if ((!isNew.donor && !isNew.record) || this.#recalling.has(donorId)) return;
    this.#recalling.add(donorId);
    const before = await this.#readTotals(donorId);
    this.#recalling.delete(donorId);
    if (!before) return;
    if (isNew.donor) donor.tokensHelped += before.tokens;
    if (isNew.record) record.verifiedRows += before.verified;
  }

  /** Tries until it succeeds; undefined once this is closed. */
  async #readTotals(donorId: string): Promise<{ tokens: number; verified: number } | undefined> {
    while (!this.#closed) {
      try {
        if (this.#database.isAway) throw new Error('away');
        // What this process wrote of an earlier visit, after which the donor was forgotten, has to be in the sums.
        await this.#queue.flush();
        const { tokens, verified } = await this.#database.db
          .selectFrom('donor_days')
          .where('donor', '=', donorId)
          .select([
            sql<number>`coalesce(sum(tokens_helped), 0)::double precision`.as('tokens'),
            sql<number>`coalesce(sum(verified_rows), 0)::double precision`.as('verified'),
          ])
          .executeTakeFirstOrThrow();
        return { tokens, verified };
      } catch {
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS).unref());
      }
    }
    return undefined;
  }
}

const addTo = (queue: WriteQueue) => queue.countersOf(DONOR_DAYS);
