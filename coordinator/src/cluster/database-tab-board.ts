import { sql } from 'kysely';
import type { Database } from '../database/database.ts';
import type { Cluster, MemberView } from './cluster.ts';
import { KnownTabs } from './known-tabs.ts';
import type { HomeView, PublishedTab, RemoteTab, TabBoard } from './tab-board.ts';
import { homeRow, readHomeRow, readTabRow, tabRow } from './tab-rows.ts';
import { OneReading } from './one-reading.ts';
import { QUERY_DEADLINE_MS } from './times.ts';
import { within } from './within.ts';

export interface TabBoardTimes {
  /** Changes of this time are written together, */
  gatherMs: number;
  /** and from one write to the next it takes so long. */
  betweenMs: number;
  /** Tabs of a member that has ended stay so long without a home: pages come back in 1 to 8 s. */
  homelessMs: number;
}

const TIMES: TabBoardTimes = { gatherMs: 20, betweenMs: 200, homelessMs: 10_000 };
/** After a failure. */
const RETRY_MS = 1_000;
/** The rows of tabs that have left, and those of members that are dead, are deleted so often. */
const TIDY_MS = 60_000;
/** Row of what a member says of itself. */
const HOME = '';
const GONE = 'null';

interface Options {
  database: Database;
  cluster: Pick<Cluster, 'key' | 'members' | 'lease'>;
  times?: TabBoardTimes;
}

interface Row {
  member: string;
  peer_id: string;
  version: number;
  view: unknown;
}

/**
 * The board in the table `cluster_tabs`. A member writes its own rows, in one statement with the next version, and reads the
 * others' rows that are newer than those that it knows. While there is nobody else, it does neither.
 */
export class DatabaseTabBoard implements TabBoard {
  readonly events: TabBoard['events'];
  /** For metrics. */
  readonly counts = { writes: 0, writtenRows: 0, writtenBytes: 0, reads: 0, readRows: 0, unreadable: 0 };
  readonly #database: Database;
  readonly #cluster: Options['cluster'];
  readonly #times: TabBoardTimes;
  readonly #known = new KnownTabs();
  readonly #own = new Map<string, PublishedTab>();
  /** What was written last, by peerId. */
  readonly #written = new Map<string, string>();
  readonly #dirty = new Set<string>();
  /** The newest version that was read of each member. */
  readonly #seen = new Map<string, number>();
  readonly #stops: (() => unknown)[] = [];
  #home: HomeView | undefined;
  #version = 0;
  #writeTimer: NodeJS.Timeout | undefined;
  #writing = false;
  #wroteMs = Number.NEGATIVE_INFINITY;
  readonly #reading = new OneReading(() => this.#readOnce());
  /** Read all rows, since the word that a tab has left may be deleted by now. */
  #isAnew = false;
  readonly #homeless = new Set<NodeJS.Timeout>();
  #isClosed = false;

  constructor({ database, cluster, times = TIMES }: Options) {
    this.#database = database;
    this.#cluster = cluster;
    this.#times = times;
    this.events = this.#known.events;
  }

  async start(): Promise<void> {
    const { members } = this.#cluster;
    const { events } = members;
    const left = ({ id }: MemberView): void => this.#lose(id);
    const joined = (): void => this.#tellAll();
    const again = (): void => {
      this.#tellAll();
      this.#readAnew();
    };
    events.on('left', left).on('joined', joined).on('returned', again).on('mended', again);
    this.#stops.push(() => events.off('left', left).off('joined', joined).off('returned', again).off('mended', again));
    const heard = (payload: string): void => this.#heard(payload);
    this.#stops.push(await this.#database.listen(this.#channel, heard, () => this.#readAnew()));
    const tidy = setInterval(() => this.#tidy(), TIDY_MS).unref();
    this.#stops.push(() => clearInterval(tidy));
    await this.#reading.start();
  }

  remote(): Iterable<RemoteTab> {
    return this.#known.remote();
  }

  of(peerId: string): RemoteTab | undefined {
    return this.#known.of(peerId);
  }

  ofTab(donorId: string, tab: number): RemoteTab | undefined {
    return this.#known.ofTab(donorId, tab);
  }

  home(member: string): HomeView | undefined {
    return this.#known.home(member);
  }

  publish(tab: PublishedTab): void {
    this.#own.set(tab.peerId, tab);
    this.#changed(tab.peerId);
  }

  withdraw(peerId: string): void {
    this.#own.delete(peerId);
    this.#changed(peerId);
  }

  publishHome(view: HomeView): void {
    this.#home = view;
    this.#changed(HOME);
  }

  close(): void {
    this.#isClosed = true;
    this.#reading.close();
    for (const timer of [this.#writeTimer, ...this.#homeless]) clearTimeout(timer);
    for (const stop of this.#stops.splice(0)) void Promise.resolve(stop()).catch(() => {});
  }

  get #self(): string {
    return this.#cluster.members.self.id;
  }

  /** Names of channels are lower-case; keys and ids have no other characters than these and "-". */
  get #channel(): string {
    return `shoal_tabs_${this.#cluster.key.replaceAll(/[^a-z0-9_]/g, '_')}`;
  }

  get #isAlone(): boolean {
    return this.#cluster.members.alive().length < 2;
  }

  #changed(peerId: string): void {
    this.#dirty.add(peerId);
    this.#writeSoon(this.#times.gatherMs);
  }

  /** Writes everything again, for somebody who may know nothing. */
  #tellAll(): void {
    this.#written.clear();
    for (const peerId of this.#own.keys()) this.#dirty.add(peerId);
    this.#dirty.add(HOME);
    this.#writeSoon(this.#times.gatherMs);
  }

  #writeSoon(delayMs: number): void {
    if (this.#isClosed || this.#writing || this.#writeTimer || this.#isAlone) return;
    const restMs = this.#wroteMs + this.#times.betweenMs - performance.now();
    this.#writeTimer = setTimeout(() => void this.#write(), Math.max(delayMs, restMs));
    this.#writeTimer.unref();
  }

  async #write(): Promise<void> {
    this.#writeTimer = undefined;
    this.#writing = true;
    this.#wroteMs = performance.now();
    const rows = this.#takeRows();
    let waitMs = this.#times.gatherMs;
    try {
      if (rows.length > 0) await within(QUERY_DEADLINE_MS, this.#insert(rows));
    } catch {
      for (const [peerId] of rows) {
        this.#written.delete(peerId);
        this.#dirty.add(peerId);
      }
      waitMs = RETRY_MS;
    }
    this.#writing = false;
    if (this.#dirty.size > 0) this.#writeSoon(waitMs);
  }

  /** The rows that differ from those written last. */
  #takeRows(): [peerId: string, view: string][] {
    const rows: [string, string][] = [];
    for (const peerId of this.#dirty) {
      const view = this.#viewOf(peerId);
      if (view === undefined || this.#written.get(peerId) === view) continue;
      if (view === GONE) this.#written.delete(peerId);
      else this.#written.set(peerId, view);
      rows.push([peerId, view]);
    }
    this.#dirty.clear();
    return rows;
  }

  #viewOf(peerId: string): string | undefined {
    if (peerId === HOME) return this.#home && homeRow(this.#home);
    const tab = this.#own.get(peerId);
    return tab ? tabRow(tab.view()) : GONE;
  }

  async #insert(rows: readonly [peerId: string, view: string][]): Promise<void> {
    const version = ++this.#version;
    const [peerIds, views] = [rows.map(([peerId]) => peerId), rows.map(([, view]) => view)];
    this.counts.writes++;
    this.counts.writtenRows += rows.length;
    for (const view of views) this.counts.writtenBytes += view.length;
    await sql`
      with written as (
        insert into cluster_tabs (cluster, member, peer_id, version, view)
        select ${this.#cluster.key}, ${this.#self}, peer_id, ${version}, view::jsonb
        from unnest(${peerIds}::text[], ${views}::text[]) as r (peer_id, view)
        on conflict (cluster, member, peer_id) do update set version = excluded.version, view = excluded.view
      )
      select pg_notify(${this.#channel}, ${`${this.#self} ${version}`})`.execute(this.#database.db);
  }

  #heard(payload: string): void {
    const [member = '', version] = payload.split(' ');
    if (member !== this.#self && Number(version) > (this.#seen.get(member) ?? 0)) void this.#reading.start();
  }

  #readAnew(): void {
    this.#isAnew = true;
    void this.#reading.start();
  }

  /** Reads what is new; false if there was no other member, or the database is away. */
  async #readOnce(): Promise<boolean> {
    const others = this.#cluster.members.alive().flatMap(({ id }) => (id === this.#self ? [] : [id]));
    const isAnew = this.#isAnew;
    this.#isAnew = false;
    if (others.length === 0) return false;
    try {
      const rows = await within(QUERY_DEADLINE_MS, this.#select(others, isAnew));
      if (isAnew) this.#forgetUnread(others, rows);
      this.#take(rows);
      return true;
    } catch {
      // The database is away: whatever was missed is read once it is back.
      this.#isAnew = true;
      return false;
    }
  }

  async #select(members: readonly string[], isAnew: boolean): Promise<Row[]> {
    const seen = members.map((member) => (isAnew ? 0 : (this.#seen.get(member) ?? 0)));
    const { rows } = await sql<Row>`
      select t.member, t.peer_id, t.version::float8 as version, t.view
      from unnest(${members}::text[], ${seen}::bigint[]) as s (member, seen)
      join cluster_tabs as t on t.cluster = ${this.#cluster.key} and t.member = s.member and t.version > s.seen
      order by t.member, t.peer_id`.execute(this.#database.db);
    this.counts.reads++;
    this.counts.readRows += rows.length;
    return rows;
  }

  #forgetUnread(members: readonly string[], rows: readonly Row[]): void {
    const read = new Set(rows.map(({ peer_id: peerId }) => peerId));
    for (const peerId of members.flatMap((member) => this.#known.publishedBy(member)))
      if (!read.has(peerId)) this.#known.delete(peerId);
  }

  /** A member's row about itself comes first, since its id is empty. */
  #take(rows: readonly Row[]): void {
    for (const { member, peer_id: peerId, version, view } of rows) {
      this.#seen.set(member, Math.max(version, this.#seen.get(member) ?? 0));
      if (peerId === HOME) {
        const home = readHomeRow(view);
        if (home) this.#known.setHome(member, home);
        continue;
      }
      const tab = view === null ? undefined : readTabRow(peerId, view);
      if (view !== null && !tab) this.counts.unreadable++;
      if (tab) this.#known.set(member, tab);
      else this.#known.delete(peerId);
    }
    if (rows.length > 0) this.events.emit('read');
  }

  #lose(member: string): void {
    this.#known.loseHome(member);
    this.events.emit('read');
    const timer = setTimeout(() => {
      this.#homeless.delete(timer);
      this.#known.forget(member);
      this.events.emit('read');
    }, this.#times.homelessMs);
    this.#homeless.add(timer.unref());
  }

  /** Each deletes the rows of its own tabs that have left, and the leader those of members that are dead. */
  #tidy(): void {
    const { key, members, lease } = this.#cluster;
    if (this.#isAlone || members.isCut) return;
    const alive = members.alive().map(({ id }) => id);
    const isDead = lease.held ? sql`or member <> all(${alive}::text[])` : sql``;
    const old = this.#version - Math.ceil(TIDY_MS / this.#times.betweenMs);
    const mine = sql`member = ${this.#self} and view = 'null'::jsonb and version < ${old}`;
    void sql`delete from cluster_tabs where cluster = ${key} and (${mine} ${isDead})`
      .execute(this.#database.db)
      .catch(() => {});
  }
}
