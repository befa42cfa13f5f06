import { type AccessBook, AccessError } from '../access/access-book.ts';
import { DatabaseBook } from '../access/database-book.ts';
import { text } from '../base/option-values.ts';
import { option, type OptionValues, variableOf } from '../base/options.ts';
import { UsageError } from '../base/usage-error.ts';
import { CONFIG_OPTIONS } from '../config.ts';
import { findControl } from '../control-file.ts';
import { type Database, DatabaseError, migrate, openDatabase } from '../database/index.ts';
import { databasePlace } from '../open-database.ts';
import { RemoteBook } from './remote-book.ts';

/** Who makes a change that is written to the database directly. */
const BY = 'command line';

/** Where the books are. */
export const PLACE_OPTIONS = {
  dataDir: CONFIG_OPTIONS.dataDir,
  database: CONFIG_OPTIONS.database,
  port: { ...CONFIG_OPTIONS.port, help: 'port of the coordinator, for the default of --data' },
  url: option('url', text('URL'), {
    help: 'ask the coordinator at this address in place of the database, with --token',
  }),
  token: option('token', text('TOKEN'), { help: "operator's token of the console, for --url; better as SHOAL_TOKEN" }),
};
export type PlaceOptions = OptionValues<typeof PLACE_OPTIONS>;

/** Adds what the environment says of the place, as it does for `serve` in a container. */
export function withPlaceFromEnvironment(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): readonly string[] {
  const more = Object.values(PLACE_OPTIONS).flatMap((place) => {
    const value = env[variableOf(place)];
    const isGiven = argv.some((part) => part === `--${place.flag}` || part.startsWith(`--${place.flag}=`));
    return isGiven || !value ? [] : [`--${place.flag}=${value}`];
  });
  return [...argv, ...more];
}

/**
 * Runs `work` with the books: of the coordinator at --url, or in the database itself. Those of an embedded database that a running
 * coordinator has open go through that coordinator.
 */
export async function withBook<T>(options: PlaceOptions, work: (book: AccessBook) => Promise<T>): Promise<T> {
  const { url, token } = options;
  if (url !== undefined) {
    if (token === undefined) throw new UsageError('--token is missing: an operator’s token for --url, or SHOAL_TOKEN');
    return work(new RemoteBook(url, token));
  }
  const place = databasePlace(options);
  if (!place) throw new UsageError('With --database none, or --port 0, nothing is kept: say where the database is');
  let database: Database;
  try {
    database = await openDatabase(place);
  } catch (error) {
    if (!(error instanceof DatabaseError) || error.reason !== 'in-use' || place.kind !== 'embedded') throw error;
    return throughItsCoordinator(place.dir, work, error);
  }
  try {
    await migrate(database);
    return await work(new DatabaseBook(database, BY));
  } finally {
    await database.close();
  }
}

/** Runs `work` with the books of the coordinator that has the database of this directory open. */
async function throughItsCoordinator<T>(
  dir: string,
  work: (book: AccessBook) => Promise<T>,
  inUse: DatabaseError,
): Promise<T> {
  const control = findControl(dir);
  const hint = `${inUse.message} Or ask the coordinator that has it open: --url URL, with an operator's token in SHOAL_TOKEN.`;
  const unreachable = new DatabaseError('in-use', hint, { cause: inUse });
  if (!control) throw unreachable;
  try {
    return await work(new RemoteBook(control.url, control.token));
  } catch (error) {
    // The file is of a coordinator that was killed, and another process has the database open.
    throw error instanceof AccessError && error.cause !== undefined ? unreachable : error;
  }
}
