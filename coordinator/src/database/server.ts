import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { UsageError } from '../base/usage-error.ts';
import { DatabaseError } from './database-error.ts';
import { PgDatabase } from './pg-database.ts';

/** How long a server may take to answer at the start: it may be starting too. */
const START_TIMEOUT_MS = 15_000;
const RETRY_MS = 500;

/** What a URL says of a server; the password is in `client` alone. */
interface Server {
  client: pg.ClientConfig;
  host: string;
  user: string;
  name: string;
  place: string;
}

/** Throws a UsageError, which does not quote the URL: it may hold a password. */
export function parseServerUrl(url: string): Server {
  const shape =
    'takes postgres://USER:PASSWORD@HOST:PORT/NAME (characters like @ and / in the password as %40 and %2F)';
  if (!/^postgres(ql)?:\/\//.test(url)) throw new UsageError(`${shape}, or none`);
  if (!URL.canParse(url)) throw new UsageError(shape);
  const { hostname, port, username, pathname, searchParams } = new URL(url);
  const user = decodeURIComponent(username) || 'postgres';
  const name = decodeURIComponent(pathname.slice(1)) || user;
  // A socket's directory is given as ?host=.
  const host = `${searchParams.get('host') ?? (hostname || 'localhost')}:${port || 5432}`;
  return { client: { connectionString: url }, host, user, name, place: `${host}/${name}` };
}

/** Connects to a server. Rejects with a DatabaseError when it refuses, or does not answer in time. */
export async function openServer(url: string, startTimeoutMs = START_TIMEOUT_MS): Promise<PgDatabase> {
  const server = parseServerUrl(url);
  const database = new PgDatabase({ kind: 'server', place: server.place, connection: server.client });
  const untilMs = performance.now() + startTimeoutMs;
  for (;;) {
    try {
      const client = await database.pool.connect();
      await client.query('select 1').finally(() => client.release());
      return database;
    } catch (error) {
      const explained = explain(server, error as Error & { code?: string });
      if (explained.reason === 'unreachable' && performance.now() < untilMs) {
        await delay(RETRY_MS);
        continue;
      }
      await database.close();
      throw explained;
    }
  }
}

function explain({ host, user, name }: Server, error: Error & { code?: string }): DatabaseError {
  const { code = '', message } = error;
  if (code === '28P01' || code === '28000') {
    const text = `The Postgres server at ${host} refuses the user ${user} (${message}). Correct user and password in --database, or what pg_hba.conf allows.`;
    return new DatabaseError('refused', text);
  }
  if (code === '3D000') {
    const text = `The Postgres server at ${host} has no database "${name}". Make it (createdb -h HOST -U ${user} ${name}), or correct the name in --database.`;
    return new DatabaseError('no-database', text);
  }
  if (code === '42501') {
    const text = `The user ${user} may not connect to the database "${name}" (${message}). GRANT CONNECT ON DATABASE ${name} TO ${user}.`;
    return new DatabaseError('no-rights', text);
  }
  if (/SSL|certificate/i.test(message)) {
    const text = `No secure connection to the Postgres server at ${host} is possible (${message}). Add ?sslmode=disable, or &sslrootcert=FILE, to --database.`;
    return new DatabaseError('refused', text);
  }
  if (/SASL|password/i.test(message)) {
    const text = `The Postgres server at ${host} asks for a password of the user ${user}, and --database has none or a wrong one.`;
    return new DatabaseError('refused', text);
  }
  const why = code === '' ? message : `${code}: ${message}`;
  const text = `No Postgres server answers at ${host} (${why}). Start it, correct --database, or start with --database none, which keeps nothing.`;
  return new DatabaseError('unreachable', text);
}
