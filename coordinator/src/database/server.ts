import { setTimeout as delay } from 'node:timers/promises';
import { parseDatabaseUrl, type ServerName } from '../base/database-url.ts';
import { DatabaseError } from './database-error.ts';
import { PgDatabase } from './pg-database.ts';

/** How long a server may take to answer at the start: it may be starting too. */
const START_TIMEOUT_MS = 15_000;
const RETRY_MS = 500;

/** Connects to a server. Rejects with a DatabaseError when it refuses, or does not answer in time. */
export async function openServer(url: string, startTimeoutMs = START_TIMEOUT_MS): Promise<PgDatabase> {
  const server = parseDatabaseUrl(url);
  const place = `${server.host}/${server.name}`;
  const database = new PgDatabase({ kind: 'server', place, connection: { connectionString: url } });
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

function explain({ host, user, name }: ServerName, error: Error & { code?: string }): DatabaseError {
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
