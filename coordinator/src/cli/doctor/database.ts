import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { sql } from 'kysely';
import {
  type Database,
  DatabaseError,
  type DatabasePlace,
  openDatabase,
  pendingMigrations,
} from '../../database/index.ts';
import { compareDates } from './clock.ts';
import { failed, type Finding, ok, warning } from './finding.ts';

const ROUND_TRIPS = 5;
/** Above it, what coordinators tell each other over the database comes late. */
const SLOW_ROUND_TRIP_MS = 50;

/** Whether the database can be used as `serve` would, which changes nothing in it. @param where undefined: none is used */
export async function checkDatabase(
  where: DatabasePlace | undefined,
  open: (where: DatabasePlace) => Promise<Database> = openDatabase,
  dateMs: () => number = () => Date.now(),
): Promise<Finding[]> {
  if (where === undefined)
    return [ok('none is used: API keys made at run time, usage, quarantines and events end with the coordinator')];
  if (where.kind === 'embedded' && !existsSync(join(where.dir, 'postgres')))
    return [ok(`the first start makes one in ${where.dir}`)];
  let database: Database;
  try {
    database = await open(where);
  } catch (error) {
    return [ofError(error)];
  }
  try {
    return await examine(database, dateMs);
  } catch (error) {
    return [ofError(error)];
  } finally {
    await database.close();
  }
}

async function examine(database: Database, dateMs: () => number): Promise<Finding[]> {
  const { db, place } = database;
  const asked = await sql<{
    version: string;
    now: Date;
  }>`select version() as version, clock_timestamp() as now`.execute(db);
  const { version, now } = asked.rows[0]!;
  const oursMs = dateMs();
  const times: number[] = [];
  for (let i = 0; i < ROUND_TRIPS; i++) {
    const startedMs = performance.now();
    await sql`select 1`.execute(db);
    times.push(performance.now() - startedMs);
  }
  const roundTripMs = times.sort((a, b) => a - b)[Math.floor(ROUND_TRIPS / 2)]!;
  const text = `${place} answers in ${roundTripMs.toFixed(1)} ms (${version.split(' ', 2).join(' ')})`;
  const pending = await pendingMigrations(database);
  const tables =
    pending.length === 0
      ? 'its tables are up to date'
      : `the next start makes or changes its tables (${pending.join(', ')})`;
  return [
    roundTripMs > SLOW_ROUND_TRIP_MS
      ? warning(text, 'Put the database near the coordinators, in the same data centre.')
      : ok(text),
    ok(tables),
    compareDates(place, now.getTime(), oursMs),
  ];
}

/** A DatabaseError's message says what to do. */
function ofError(error: unknown): Finding {
  if (!(error instanceof DatabaseError)) throw error;
  const [what = '', ...remedy] = error.message.split(/(?<=[.)])\s+(?=[A-Z])/);
  const finding = error.reason === 'in-use' ? warning : failed;
  return finding(what, remedy.join(' '));
}
