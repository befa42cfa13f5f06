import { Kysely, PostgresDialect, type PostgresPool, type PostgresPoolClient } from 'kysely';
import pg from 'pg';
import type { Database, DatabasePlace } from './database.ts';
import { Listener } from './listener.ts';
import { Reach } from './reach.ts';
import type { Tables } from './tables.ts';

/** Connections for queries; one more listens. */
const MAX_CONNECTIONS = 6;
/** To get a connection: a new one, or one's turn. */
const CONNECT_TIMEOUT_MS = 5_000;
/** For one query: at the server, and here where the server doesn't end it. */
const STATEMENT_TIMEOUT_MS = 10_000;
const QUERY_TIMEOUT_MS = 12_000;
const CLOSE_TIMEOUT_MS = 2_000;

/** SQL states of a server that is starting, stopping or full. All other errors with a state are answers. */
const AWAY_STATES = /^(08|57P0[1-5]|53300)/;

const { builtins } = pg.types;

/** Whole numbers as numbers, and days as `YYYY-MM-DD`, which pg would make midnight in this machine's time zone. */
const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') => {
    if (oid === builtins.INT8) return Number;
    if (oid === builtins.DATE) return String;
    return pg.types.getTypeParser(oid, format);
  }) as pg.CustomTypesConfig['getTypeParser'],
};

export interface PgDatabaseOptions {
  kind: Database['kind'];
  place: string;
  /** How clients connect. */
  connection: pg.ClientConfig;
  maxConnections?: number;
  /** Called once all connections have ended. */
  onClosed?: () => Promise<void>;
}

/** A database that is spoken to in Postgres's protocol, over the network or to a thread. */
export class PgDatabase implements Database {
  readonly kind: Database['kind'];
  readonly place: string;
  readonly db: Kysely<Tables>;
  readonly pool: pg.Pool;
  readonly #reach: Reach;
  readonly #listener: Listener;
  readonly #onClosed: () => Promise<void>;
  #closing: Promise<void> | undefined;

  constructor({ kind, place, connection, maxConnections = MAX_CONNECTIONS, onClosed }: PgDatabaseOptions) {
    this.kind = kind;
    this.place = place;
    this.#onClosed = onClosed ?? (async () => {});
    const client: pg.ClientConfig = {
      application_name: 'shoal',
      keepAlive: true,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      query_timeout: QUERY_TIMEOUT_MS,
      types,
      ...connection,
    };
    const timeouts = {
      statement_timeout: STATEMENT_TIMEOUT_MS,
      idle_in_transaction_session_timeout: STATEMENT_TIMEOUT_MS,
    };
    this.pool = new pg.Pool({ ...client, ...timeouts, max: maxConnections });
    this.#reach = new Reach(() => this.#probe());
    // A connection that ended while nobody used it.
    this.pool.on('error', (error) => this.#note(error));
    // And one that ends while it is used: its query says so, and without a listener the process would end.
    this.pool.on('connect', (made) => made.on('error', () => {}));
    this.db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: this.#watched() }) });
    this.#listener = new Listener(() => new pg.Client(client), {
      onReached: () => this.#reach.reached(),
      onMissed: (why) => this.#reach.missed(why),
    });
  }

  get isAway(): boolean {
    return this.#reach.isAway;
  }

  get events(): Database['events'] {
    return this.#reach.events;
  }

  listen(channel: string, onPayload: (payload: string) => void, onResumed?: () => void) {
    return this.#listener.listen(channel, onPayload, onResumed);
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#reach.close();
    await within(CLOSE_TIMEOUT_MS, Promise.all([this.#listener.close(), this.db.destroy()]));
    await this.#onClosed();
  }

  async #probe(): Promise<void> {
    const client = await this.#connect();
    try {
      await client.query('select 1', []);
    } finally {
      client.release();
    }
  }

  #watched(): PostgresPool {
    return {
      connect: () => this.#connect(),
      end: () => this.pool.end(),
      options: {},
    };
  }

  async #connect(): Promise<PostgresPoolClient> {
    let client: pg.PoolClient;
    try {
      client = await this.pool.connect();
    } catch (error) {
      this.#note(error);
      throw error;
    }
    let isBroken = false;
    return {
      query: async (sql: string, parameters: readonly unknown[]) => {
        try {
          const result = await client.query(sql, [...parameters]);
          this.#reach.reached();
          return result as never;
        } catch (error) {
          isBroken = this.#note(error) || isBroken;
          throw error;
        }
      },
      release: (destroy?: boolean) => client.release(isBroken || destroy),
    } as unknown as PostgresPoolClient;
  }

  /** Whether the error says that the database was not reached. */
  #note(error: unknown): boolean {
    const isAnswer = isDatabaseAnswer(error);
    if (isAnswer) this.#reach.reached();
    else this.#reach.missed(error instanceof Error ? error.message : String(error));
    return !isAnswer;
  }
}

function isDatabaseAnswer(error: unknown): boolean {
  return error instanceof pg.DatabaseError && !AWAY_STATES.test(error.code ?? '');
}

async function within(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
  await Promise.race([work.catch(() => {}), timeout]);
  clearTimeout(timer);
}

export type PlaceOf<K extends DatabasePlace['kind']> = Extract<DatabasePlace, { kind: K }>;
