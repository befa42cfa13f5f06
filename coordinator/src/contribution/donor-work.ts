import type { Contribution, Figures } from '@shoal/protocol';
import type { Database, WriteQueue } from '../database/index.ts';
import { dayOf, DONOR_DAYS, DONORS } from '../records/books.ts';
import type { DonorHistory } from '../swarm/donor-records.ts';
import type { PeerSession } from '../swarm/peer-session.ts';
import type { Swarm } from '../swarm/swarm.ts';
import { Account, newAccount, noFigures } from './account.ts';
import { AccountReader } from './account-reader.ts';
import { ConfirmedWork } from './confirmed-work.ts';

/** Between two looks at what the tabs have done. */
const SAMPLE_MS = 2_000;
/** A look that came later says that this process was held up, or its machine asleep: no tab served for longer than this. */
const MAX_SAMPLE_S = 10;
/** Audits of a tab's last rows end within this time after it has left. */
const AFTERMATH_MS = 30_000;
const RETRY_MS = 5_000;

interface Visit {
  readonly work: ConfirmedWork;
  /** What it was credited with, as of the last look. */
  credited: Figures;
  /** Time during which it could be given work and no other tab of its donor was counted. */
  servedSeconds: number;
  /** Whether the database has heard of its donor. */
  isSeen: boolean;
  /** When the tab left, by performance.now(). */
  leftMs?: number;
}

export interface DonorWorkOptions {
  swarm: Pick<Swarm, 'visits'>;
  /** Undefined where nothing is kept: accounts end with the coordinator then. */
  records?: { database: Database; queue: WriteQueue } | undefined;
  /** Whether credit is worth anything. */
  hasCredit?: () => boolean;
}

/**
 * Credits what donors' tabs do, by day, and knows the account of each donor that is here. Its figures are read from the database in
 * the background when its first tab comes. Until then nothing of it is written, so that nothing is counted twice.
 */
export class DonorWork {
  readonly #options: DonorWorkOptions;
  readonly #reader: AccountReader | undefined;
  readonly #visits = new Map<PeerSession, Visit>();
  /** How many of them each donor has. */
  readonly #visitsOf = new Map<string, number>();
  /** Of donors that are here, or were here last, by donor. */
  readonly #accounts = new Map<string, Account>();
  /** Donors whose account is being read, and the end of that. */
  readonly #reading = new Map<string, Promise<unknown>>();
  readonly #histories = new WeakSet<DonorHistory>();
  readonly #add: (key: { donor: string; day: string }, more: Record<string, number>) => void;
  readonly #seen: (row: { donor: string }) => void;
  readonly #timer: NodeJS.Timeout;
  #sampledMs = performance.now();
  #nextRefresh = 0;
  #closed = false;

  constructor(options: DonorWorkOptions) {
    this.#options = options;
    const { records, swarm } = options;
    this.#reader = records && new AccountReader(records.database, records.queue);
    this.#add = records?.queue.countersOf(DONOR_DAYS) ?? (() => {});
    this.#seen = records?.queue.rowsOf(DONORS) ?? (() => {});
    swarm.visits.on('joined', this.#joined);
    swarm.visits.on('left', this.#left);
    this.#timer = setInterval(() => {
      this.sample();
      this.#refreshNext();
    }, SAMPLE_MS).unref();
  }

  /** A donor's account, as far as it is known. */
  view(donorId: string, proven: boolean): Contribution | undefined {
    const { records, hasCredit } = this.#options;
    const terms = { kept: records !== undefined, proven, hasCredit: hasCredit?.() ?? false };
    return this.#accounts.get(donorId)?.view(Date.now(), terms);
  }

  /** Credits what was done since the last look. */
  sample(): void {
    const nowMs = performance.now();
    const seconds = Math.min(MAX_SAMPLE_S, (nowMs - this.#sampledMs) / 1000);
    this.#sampledMs = nowMs;
    const serving = new Set<string>();
    for (const [peer, visit] of this.#visits) {
      const isOver = visit.leftMs !== undefined && nowMs - visit.leftMs > AFTERMATH_MS;
      // Tabs of one donor share a GPU, and its time.
      const serves = visit.leftMs === undefined && peer.serving && !serving.has(peer.donorId);
      if (serves) serving.add(peer.donorId);
      if (serves) visit.servedSeconds += seconds;
      if (!this.#reading.has(peer.donorId) || this.#closed || isOver) this.#credit(peer, visit);
      if (isOver) this.#forget(peer);
    }
  }

  /** Writes what is known, and reads the donor's account anew, for this donor and all that share it. */
  async refresh(donorId: string): Promise<void> {
    const reader = this.#reader;
    if (!reader) return;
    let donors = this.#sharing(donorId);
    // What is being read already may have been asked for before a change.
    for (let busy; (busy = donors.find((donor) => this.#reading.has(donor))); donors = this.#sharing(donorId))
      await this.#reading.get(busy);
    if (!this.#isHere(donorId)) return;
    this.sample();
    await this.#whileReading(donors, async () => {
      for (const donor of donors) this.#take(donor, await reader.read(donor));
    });
  }

  /** The donor, and those that are here and have the same account. */
  #sharing(donorId: string): string[] {
    const account = this.#accounts.get(donorId);
    const sharing = [...this.#accounts].flatMap(([donor, its]) => (its === account && account ? [donor] : []));
    return [...new Set([donorId, ...sharing])];
  }

  async #whileReading(donors: readonly string[], read: () => Promise<void>): Promise<void> {
    const reading = read();
    const ended = reading.catch(() => {});
    for (const donor of donors) this.#reading.set(donor, ended);
    try {
      await reading;
    } finally {
      for (const donor of donors) this.#reading.delete(donor);
    }
  }

  /** What is asked of the database about an account, with everything written before and read after it. */
  async changing<T>(donorId: string, change: () => Promise<T>): Promise<T> {
    this.sample();
    await this.#options.records?.queue.flush();
    const result = await change();
    // Its row may be gone.
    for (const visit of this.#visits.values()) visit.isSeen = false;
    await this.refresh(donorId);
    return result;
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#options.swarm.visits.off('joined', this.#joined);
    this.#options.swarm.visits.off('left', this.#left);
    this.sample();
  }

  #credit(peer: PeerSession, visit: Visit): void {
    const { donorId, trust } = peer;
    const done = visit.credited;
    // Nothing is credited any more to whom a wrong result was confirmed.
    const isTrusted = trust.phase !== 'quarantined';
    const own = visit.work.look(trust, peer.tokensHelped - peer.tokensForGuests);
    const now: Figures = {
      tokens: isTrusted ? own.tokens + peer.tokensForGuests : done.tokens,
      rows: isTrusted ? own.rows : done.rows,
      verifiedRows: trust.auditedRows - trust.failures,
      servedSeconds: visit.servedSeconds,
      busySeconds: peer.busySeconds,
    };
    // Whoever only joins, under any number of names, leaves nothing here.
    if (now.verifiedRows === 0 && now.tokens === 0) return;
    const more = noFigures();
    for (const name of Object.keys(more) as (keyof Figures)[]) more[name] = Math.max(0, now[name] - done[name]);
    if (Object.values(more).every((value) => value === 0)) return;
    visit.credited = now;
    const day = dayOf(Date.now());
    const { tokens, rows, verifiedRows, servedSeconds, busySeconds } = more;
    const counts = { tokens_helped: tokens, rows, verified_rows: verifiedRows };
    this.#add({ donor: donorId, day }, { ...counts, served_seconds: servedSeconds, busy_seconds: busySeconds });
    this.#accounts.get(donorId)?.add(day, more);
    if (!visit.isSeen) this.#seen({ donor: donorId });
    visit.isSeen = true;
  }

  #isHere(donorId: string): boolean {
    return this.#visitsOf.has(donorId);
  }

  #forget(peer: PeerSession): void {
    const { donorId } = peer;
    this.#visits.delete(peer);
    const left = this.#visitsOf.get(donorId)! - 1;
    if (left > 0) return void this.#visitsOf.set(donorId, left);
    this.#visitsOf.delete(donorId);
    this.#accounts.delete(donorId);
  }

  readonly #joined = (peer: PeerSession): void => {
    this.#visits.set(peer, { work: new ConfirmedWork(), credited: noFigures(), servedSeconds: 0, isSeen: false });
    this.#visitsOf.set(peer.donorId, (this.#visitsOf.get(peer.donorId) ?? 0) + 1);
    peer.contribution = () => this.view(peer.donorId, peer.tokenId !== peer.donorId);
    if (!this.#accounts.has(peer.donorId)) void this.#recall(peer);
    else this.#recallTrust(peer);
  };

  readonly #left = (peer: PeerSession): void => {
    const visit = this.#visits.get(peer);
    if (!visit) return;
    // No audit of it can come any more, and strangers may come and go without end.
    if (peer.rows === 0) return this.#forget(peer);
    visit.leftMs = performance.now();
    if (visit.isSeen) this.#seen({ donor: peer.donorId });
  };

  async #recall(peer: PeerSession): Promise<void> {
    const { donorId } = peer;
    const reader = this.#reader;
    if (!reader) return void this.#accounts.set(donorId, new Account(newAccount(donorId)));
    if (!this.#reading.has(donorId)) await this.#whileReading([donorId], () => this.#recallKept(peer, reader));
  }

  /** Tries until the database answers, or the donor has left. */
  async #recallKept(peer: PeerSession, reader: AccountReader): Promise<void> {
    const { donorId, tokenId } = peer;
    while (!this.#closed && this.#isHere(donorId)) {
      try {
        // What the browser did before it had a key is its own, as its token proves.
        if (tokenId !== donorId) await reader.adopt(donorId, tokenId);
        this.#take(donorId, await reader.read(donorId));
        return this.#recallTrust(peer);
      } catch {
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS).unref());
      }
    }
  }

  /** Browsers of one account that are here have one Account. */
  #take(donorId: string, kept: Awaited<ReturnType<AccountReader['read']>>): void {
    const same = [...this.#accounts.values()].find(({ main }) => main === kept.main);
    if (same) same.replace(kept);
    this.#accounts.set(donorId, same ?? new Account(kept));
  }

  /** A donor that has long been right is proven here too. */
  #recallTrust({ donorId, donor, trust: { record } }: PeerSession): void {
    if (this.#histories.has(donor)) return;
    this.#histories.add(donor);
    const before = this.#accounts.get(donorId)?.figures(Date.now()).total.verifiedRows ?? 0;
    record.verifiedRows = Math.max(record.verifiedRows, before);
  }

  /** Others may have changed it: coordinators that share the database, or an operator. One donor at each look. */
  #refreshNext(): void {
    const donors = [...this.#accounts.keys()];
    const donorId = donors[this.#nextRefresh++ % Math.max(1, donors.length)];
    if (donorId !== undefined && !this.#reading.has(donorId)) void this.refresh(donorId).catch(() => {});
  }
}
