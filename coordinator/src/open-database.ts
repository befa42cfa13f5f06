import { hostname } from 'node:os';
import { join } from 'node:path';
import type { EventLog } from './base/event-log.ts';
import { type Config, ROOT_DIR } from './config.ts';
import { type Database, type DatabasePlace, migrate, openDatabase } from './database/index.ts';
import { Records } from './records/index.ts';
import type { Quarantine } from './trust/quarantine.ts';

/** Where a coordinator's database is; undefined if it keeps nothing. A free port names no directory that it would find again. */
export function databasePlace({ database, dataDir, port }: Pick<Config, 'database' | 'dataDir' | 'port'>) {
  if (database === 'none') return undefined;
  if (database !== undefined) return { kind: 'server', url: database } satisfies DatabasePlace;
  if (dataDir !== undefined) return { kind: 'embedded', dir: dataDir } satisfies DatabasePlace;
  if (port === 0) return undefined;
  return { kind: 'embedded', dir: join(ROOT_DIR, '.data', String(port)) } satisfies DatabasePlace;
}

/**
 * Opens the coordinator's database, with all its tables, and takes up what it has. Rejects with a DatabaseError. `shared` is used in
 * its place, and left open.
 */
export async function openRecords(
  config: Config,
  events: EventLog,
  quarantine: Quarantine,
  closeLater: <Part extends Database | Records>(part: Part) => Part,
  shared?: Database,
): Promise<Records | undefined> {
  const place = databasePlace(config);
  if (!place && !shared) return undefined;
  const database = shared ?? closeLater(await openDatabase(place!));
  await migrate(database);
  return closeLater(await Records.open(database, events, quarantine, `${hostname()}:${config.port}`));
}
