import { EventEmitter } from 'node:events';
import { sql } from 'kysely';
import { steadyUnixMs } from '../base/clock.ts';
import type { Database } from '../database/database.ts';
import type { Members, MembersEvents, MemberView } from './cluster.ts';
import { Repeat } from './repeat.ts';
import { type ClusterTimes, QUERY_DEADLINE_MS } from './times.ts';
import { within } from './within.ts';

interface Options {
  database: Database;
  /** Of the cluster. */
  key: string;
  self: Omit<MemberView, 'sinceMs'>;
  times: ClusterTimes;
  /** Tells the others to look at once. */
  onChanged: () => void;
}

interface Row {
  member: string;
  name: string;
  view: { address: string; version: string };
  /** Since start, in epoch milliseconds. */
  since: number;
  /** Milliseconds since the last heartbeat. */
  age: number;
}

/** The registry in the table `members`: each member writes its row and reads the others' in one statement a second. */
export class DatabaseMembers implements Members {
  readonly events = new EventEmitter<MembersEvents>();
  readonly #options: Options;
  readonly #repeat = new Repeat(() => this.#turn());
  readonly #onBack = (): void => void this.#repeat.now();
  readonly #onAway = (): void => this.#setCut(true);
  #self: MemberView;
  #alive: readonly MemberView[];
  #isCut = false;
  #registered = false;
  /** While this time is not over, others stay alive that have not come back yet, since all were cut together. */
  #graceUntilMs = Number.NEGATIVE_INFINITY;
  /** Of the last heartbeat, for metrics. */
  roundTripMs = Number.NaN;

  constructor(options: Options) {
    this.#options = options;
    this.#self = { ...options.self, sinceMs: steadyUnixMs() };
    this.#alive = [this.#self];
    options.database.events.on('away', this.#onAway);
    options.database.events.on('back', this.#onBack);
  }

  get self(): MemberView {
    return this.#self;
  }

  get isCut(): boolean {
    return this.#isCut;
  }

  alive(): readonly MemberView[] {
    return this.#alive;
  }

  /** Registers, unless the database is away. Later heartbeats follow by themselves. */
  async start(): Promise<void> {
    await this.#repeat.now();
    this.#options.onChanged();
  }

  /** Reads who is alive now. */
  look(): void {
    void this.#repeat.now();
  }

  async close(): Promise<void> {
    const { database } = this.#options;
    database.events.off('away', this.#onAway);
    database.events.off('back', this.#onBack);
    await this.#repeat.stop();
    if (database.isAway) return;
    const gone = database.db.deleteFrom('members').where('member', '=', this.#self.id).execute();
    await within(QUERY_DEADLINE_MS, gone).then(this.#options.onChanged, () => {});
  }

  async #turn(): Promise<number> {
    const startMs = performance.now();
    try {
      const rows = await within(QUERY_DEADLINE_MS, this.#beat());
      this.roundTripMs = performance.now() - startMs;
      this.#read(rows);
    } catch {
      this.#setCut(true);
    }
    return Math.max(0, this.#options.times.beatMs - (performance.now() - startMs));
  }

  /** Resolves to the rows as they were before this heartbeat: the own one says whether the others thought this member dead. */
  async #beat(): Promise<Row[]> {
    const { database, key, times } = this.#options;
    const { id, name, address, version } = this.#self;
    const view = JSON.stringify({ address, version });
    const { rows } = await sql<Row>`
      with beat as (
        insert into members (member, cluster, name, started_at, seen_at, view)
        values (${id}, ${key}, ${name}, clock_timestamp(), clock_timestamp(), ${view})
        on conflict (member) do update set seen_at = clock_timestamp()
      )
      select member, name, view, extract(epoch from started_at)::float8 * 1000 as since,
        extract(epoch from clock_timestamp() - seen_at)::float8 * 1000 as age
      from members
      where cluster = ${key} and (member = ${id} or seen_at > clock_timestamp() - ${times.deadAfterMs} * interval '1 ms')
      order by member`.execute(database.db);
    return rows;
  }

  #read(rows: readonly Row[]): void {
    const { deadAfterMs } = this.#options.times;
    const own = rows.find(({ member }) => member === this.#self.id);
    const wasForgotten = this.#registered && (own === undefined || own.age > deadAfterMs);
    this.#registered = true;
    if (this.#isCut) this.#graceUntilMs = performance.now() + deadAfterMs;
    const others = rows.filter((row) => row !== own).map((row) => this.#known(row));
    if (performance.now() < this.#graceUntilMs)
      others.push(...this.#alive.filter(({ id }) => id !== this.#self.id && !others.some((other) => other.id === id)));
    if (own) this.#self.sinceMs = own.since;
    this.#setCut(false);
    this.#setAlive([this.#self, ...others].toSorted((a, b) => (a.id < b.id ? -1 : 1)));
    if (wasForgotten) this.events.emit('returned');
  }

  /** The same object for the same member, so that it can be compared. */
  #known({ member: id, name, view: { address, version }, since: sinceMs }: Row): MemberView {
    return this.#alive.find((known) => known.id === id) ?? { id, name, address, version, sinceMs };
  }

  #setAlive(alive: readonly MemberView[]): void {
    const before = this.#alive;
    this.#alive = alive;
    const joined = alive.filter((member) => !before.includes(member));
    const left = before.filter((member) => !alive.includes(member));
    for (const member of joined) this.events.emit('joined', member);
    for (const member of left) this.events.emit('left', member);
    if (joined.length + left.length > 0) this.events.emit('changed');
  }

  #setCut(isCut: boolean): void {
    if (isCut === this.#isCut) return;
    this.#isCut = isCut;
    this.events.emit(isCut ? 'cut' : 'mended');
  }
}
