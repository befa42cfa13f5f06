import { hostname } from 'node:os';
import { join } from 'node:path';
import type { EventLog } from './base/event-log.ts';
import { OWN_DIRS } from './base/places.ts';
import type { Config } from './config.ts';
import { type Database, type DatabasePlace, migrate, openDatabase } from './database/index.ts';
import { Records } from './records/index.ts';
import type { Quarantine } from './trust/quarantine.ts';

/**
 * Where a coordinator's database is; undefined if it keeps nothing. `port`: the one that it listens on, which is the name of its
 * directory. A free one (`--port 0`) names none that it would find again.
 */
export function databasePlace(
  { database, dataDir, port: given }: Pick<Config, 'database' | 'dataDir' | 'port'>,
  port = typeof given === 'number' ? given : given.first,
): DatabasePlace | undefined {
  if (database === 'none') return undefined;
  if (database !== undefined) return { kind: 'server', url: database };
  if (dataDir !== undefined) return { kind: 'embedded', dir: dataDir };
  if (given === 0) return undefined;
  return { kind: 'embedded', dir: join(OWN_DIRS.data, String(port)) };
}

export interface RecordsHooks {
  /** That the coordinator listens on. */
  port?: number;
  /** Used in the place of the configured database, also by other coordinators of this process. It stays open. For tests. */
  sharedDatabase?: Database;
}

export interface OpenRecords extends RecordsHooks {
  config: Config;
  events: EventLog;
  quarantine: Quarantine;
}

/**
 * Opens the coordinator's database, with all its tables, and takes up what it has. Rejects with a DatabaseError.
 */
export async function openRecords(
  { config, events, quarantine, port, sharedDatabase }: OpenRecords,
  closeLater: <Part extends Database | Records>(part: Part) => Part,
): Promise<Records | undefined> {
  const place = databasePlace(config, port);
  if (!sharedDatabase && !place) return undefined;
  const database = sharedDatabase ?? closeLater(await openDatabase(place!));
  await migrate(database);
  return closeLater(await Records.open(database, events, quarantine, `${hostname()}:${port ?? 0}`));
}
