import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { entry } from '../../../coordinator/src/access/testing/fixtures.ts';
import { type FromMember, MemberProcess, type MemberState } from './member-process.ts';
import { freePort, Postgres } from '../../postgres.ts';
import { Relay } from './relay.ts';

/** Tokens of API keys: one without limits, and one with. */
export const KEYS = { free: 'key-without-limits', limited: 'key-with-a-limit' };
export const REQUESTS_PER_MINUTE = 120;

interface Place {
  port: number;
  /** Its line to the database. */
  line: Relay;
  member: MemberProcess | undefined;
}

/** Coordinators in processes of their own over one Postgres server, each on a line that can be cut, behind a balancer. */
export class ClusterStage {
  readonly postgres: Postgres;
  readonly balancer: Relay;
  readonly #places: Place[];
  readonly #dir: string;
  readonly #onMessage: (member: MemberProcess, message: FromMember) => void;

  private constructor(
    postgres: Postgres,
    balancer: Relay,
    places: Place[],
    onMessage: (member: MemberProcess, message: FromMember) => void,
  ) {
    this.postgres = postgres;
    this.balancer = balancer;
    this.#places = places;
    this.#onMessage = onMessage;
    this.#dir = mkdtempSync(join(tmpdir(), 'shoal-chaos-'));
    const keys = [
      entry('free', KEYS.free),
      { ...entry('limited', KEYS.limited), requestsPerMinute: REQUESTS_PER_MINUTE },
    ];
    // All tabs of the test have one address.
    const limits = { peersPerAddress: 1_000, joinsPerMinutePerAddress: 10_000, tabsPerDonor: 100 };
    writeFileSync(this.#accessFile, JSON.stringify({ apiKeys: keys, limits }));
  }

  static async open(
    members: number,
    onMessage: (member: MemberProcess, message: FromMember) => void = () => {},
  ): Promise<ClusterStage> {
    const postgres = await Postgres.start();
    const places: Place[] = [];
    const balancer = await Relay.open(() =>
      places.flatMap(({ member, port }) => (member?.ended === false ? [port] : [])),
    );
    for (let i = 0; i < members; i++) {
      const line = await Relay.open(() => [postgres.port]);
      places.push({ port: await freePort(), line, member: undefined });
    }
    const stage = new ClusterStage(postgres, balancer, places, onMessage);
    try {
      await stage.query('create table chaos_writes (seq bigserial primary key, term bigint, holder text)');
      await Promise.all(places.map((_, i) => stage.start(i)));
      return stage;
    } catch (error) {
      await stage.close();
      throw error;
    }
  }

  get #accessFile(): string {
    return join(this.#dir, 'access.json');
  }

  /** Where clients and tabs come in. */
  get url(): string {
    return `http://127.0.0.1:${this.balancer.port}`;
  }

  get members(): (MemberProcess | undefined)[] {
    return this.#places.map(({ member }) => member);
  }

  async start(i: number): Promise<void> {
    const place = this.#places[i]!;
    const { port } = place;
    const databaseUrl = this.postgres.url('shoal', place.line.port);
    const options = { databaseUrl, accessFile: this.#accessFile, port, onMessage: this.#onMessage };
    place.member = await MemberProcess.open(options);
  }

  async kill(i: number): Promise<void> {
    const { member } = this.#places[i]!;
    this.#places[i]!.member = undefined;
    await member?.kill();
  }

  line(i: number): Relay {
    return this.#places[i]!.line;
  }

  get lines(): Relay[] {
    return this.#places.map(({ line }) => line);
  }

  async states(): Promise<(MemberState | undefined)[]> {
    return Promise.all(this.members.map((member) => member?.state()));
  }

  /** Over a connection of its own, past all lines. */
  async query<Row extends object>(text: string): Promise<Row[]> {
    const client = new pg.Client({ connectionString: this.postgres.url() });
    await client.connect();
    try {
      return (await client.query<Row>(text)).rows;
    } finally {
      await client.end();
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#places.map(({ member }) => member?.kill()));
    await Promise.all([this.balancer, ...this.lines].map((relay) => relay.close()));
    await this.postgres.close();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
