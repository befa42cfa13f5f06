import { EventEmitter } from 'node:events';
import { sql } from 'kysely';
import { MAX_SHARDS_PER_ASSIGNMENT } from '@shoal/protocol';
import type { Database } from '../database/database.ts';
import type { Cluster } from './cluster.ts';
import { StaleTermError, writeAsLeader } from './database-lease.ts';
import { ascending, rangesOf, readRanges } from './expert-ranges.ts';
import type { TabOrder, TabOrders } from './tab-orders.ts';
import { OneReading } from './one-reading.ts';
import { QUERY_DEADLINE_MS } from './times.ts';
import { within } from './within.ts';

/** Orders of tabs that have left are deleted so often. */
const TIDY_MS = 60_000;

interface Options {
  database: Database;
  cluster: Pick<Cluster, 'key' | 'members' | 'lease'>;
}

interface Row {
  peer_id: string;
  number: number;
  regime: number;
  assigned: string;
  target: string;
}

/** Orders in the table `tab_orders`, the newest for each tab; the leader writes them in a transaction that holds its lease. */
export class DatabaseTabOrders implements TabOrders {
  readonly events: TabOrders['events'] = new EventEmitter();
  epoch = 0;
  /** For metrics. */
  readonly counts = { writes: 0, refused: 0, writtenRows: 0, reads: 0, readRows: 0 };
  readonly #database: Database;
  readonly #cluster: Options['cluster'];
  readonly #stops: (() => unknown)[] = [];
  #seen = 0;
  readonly #reading = new OneReading(() => this.#readOnce());

  constructor({ database, cluster }: Options) {
    this.#database = database;
    this.#cluster = cluster;
  }

  async start(): Promise<void> {
    const heard = (payload: string): void => this.#heard(payload);
    const again = (): void => void this.#reading.start();
    this.#stops.push(await this.#database.listen(this.#channel, heard, again));
    const { events } = this.#cluster.members;
    events.on('mended', again);
    this.#stops.push(() => events.off('mended', again));
    const tidy = setInterval(() => this.#tidy(), TIDY_MS).unref();
    this.#stops.push(() => clearInterval(tidy));
    await this.#reading.start();
  }

  async write(term: number, epoch: number, orders: readonly TabOrder[]): Promise<boolean> {
    const { key, members } = this.#cluster;
    this.epoch = Math.max(this.epoch, epoch);
    const lease = { key, name: 'placement', holder: members.self.id, term };
    const homes = [...new Set(orders.map(({ home }) => home))];
    this.counts.writes++;
    try {
      await within(
        QUERY_DEADLINE_MS,
        writeAsLeader(this.#database.db, lease, async (transaction) => {
          await sql`
            insert into placements (cluster, epoch, term) values (${key}, ${epoch}, ${term})
            on conflict (cluster) do update set epoch = greatest(placements.epoch, excluded.epoch),
              term = excluded.term, at = now()`.execute(transaction);
          if (orders.length > 0) await this.#insert(orders).execute(transaction);
          await sql`select pg_notify(${this.#channel}, ${[epoch, ...homes].join(' ')})`.execute(transaction);
        }),
      );
    } catch (error) {
      if (!(error instanceof StaleTermError)) throw error;
      this.counts.refused++;
      return false;
    }
    this.counts.writtenRows += orders.length;
    return true;
  }

  close(): void {
    this.#reading.close();
    for (const stop of this.#stops.splice(0)) void Promise.resolve(stop()).catch(() => {});
  }

  /** A name in lower case; keys have no other characters than these and "-". */
  get #channel(): string {
    return `shoal_orders_${this.#cluster.key.replaceAll(/[^a-z0-9_]/g, '_')}`;
  }

  #insert(orders: readonly TabOrder[]) {
    const text = (experts: TabOrder['assigned']): string => rangesOf(ascending(experts));
    return sql`
      insert into tab_orders (cluster, home, peer_id, number, regime, assigned, target)
      select ${this.#cluster.key}, * from unnest(
        ${orders.map(({ home }) => home)}::text[], ${orders.map(({ peerId }) => peerId)}::text[],
        ${orders.map(({ number }) => number)}::bigint[], ${orders.map(({ regime }) => regime)}::bigint[],
        ${orders.map(({ assigned }) => text(assigned))}::text[], ${orders.map(({ target }) => text(target))}::text[])
      on conflict (cluster, home, peer_id) do update set number = excluded.number, regime = excluded.regime,
        assigned = excluded.assigned, target = excluded.target where tab_orders.number < excluded.number`;
  }

  /** `EPOCH HOME …` */
  #heard(payload: string): void {
    const [epoch, ...homes] = payload.split(' ');
    this.epoch = Math.max(this.epoch, Number(epoch) || 0);
    if (homes.includes(this.#cluster.members.self.id)) void this.#reading.start();
  }

  /** Whether the database could be read. */
  async #readOnce(): Promise<boolean> {
    try {
      const { epoch, rows } = await within(QUERY_DEADLINE_MS, this.#select());
      this.epoch = Math.max(this.epoch, epoch);
      this.#take(rows);
      return true;
    } catch {
      // The database is away: orders are read once it is back.
      return false;
    }
  }

  async #select(): Promise<{ epoch: number; rows: Row[] }> {
    const { key, members } = this.#cluster;
    const { db } = this.#database;
    const { rows } = await sql<Row & { epoch: number | null }>`
      select p.epoch::float8 as epoch, o.peer_id, o.number::float8 as number, o.regime::float8 as regime, o.assigned, o.target
      from (select (select epoch from placements where cluster = ${key}) as epoch) as p
      left join tab_orders as o on o.cluster = ${key} and o.home = ${members.self.id} and o.number > ${this.#seen}
      order by o.number`.execute(db);
    this.counts.reads++;
    return { epoch: rows[0]?.epoch ?? 0, rows: rows.filter(({ peer_id: peerId }) => peerId !== null) };
  }

  #take(rows: readonly Row[]): void {
    this.counts.readRows += rows.length;
    const home = this.#cluster.members.self.id;
    const orders: TabOrder[] = [];
    for (const { peer_id: peerId, number, regime, ...experts } of rows) {
      this.#seen = Math.max(this.#seen, number);
      const assigned = readRanges(experts.assigned, MAX_SHARDS_PER_ASSIGNMENT);
      const target = readRanges(experts.target, MAX_SHARDS_PER_ASSIGNMENT);
      if (assigned && target)
        orders.push({ number, home, regime, peerId, assigned: new Set(assigned), target: new Set(target) });
    }
    if (orders.length > 0) this.events.emit('orders', orders);
  }

  #tidy(): void {
    const { key, lease, members } = this.#cluster;
    if (!lease.held || members.isCut || members.alive().length < 2) return;
    void sql`
      delete from tab_orders as o where cluster = ${key} and not exists (
        select from cluster_tabs as t
        where t.cluster = o.cluster and t.member = o.home and t.peer_id = o.peer_id and t.view <> 'null'::jsonb)`
      .execute(this.#database.db)
      .catch(() => {});
  }
}
