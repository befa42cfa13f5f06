import { type Kysely, sql } from 'kysely';
import type { Database, Tables } from '../database/index.ts';
import { changeAndTell, TableReader, unchangedText } from '../database/reader.ts';
import { entryOf, SETTING_NAMES, type SettingChanges, type SettingName } from './entries.ts';
import { type Chosen, type Settings, SettingsError, type SettingsStore } from './settings.ts';

/** Told whenever settings in the database have changed. */
const CHANNEL = 'shoal_settings';
/** Before the names of settings in the table, which has other things too. */
const PREFIX = 'live.';

/** Keeps settings as they are in the database, whichever coordinator changes them there. */
export class StoredSettings implements SettingsStore {
  readonly #database: Database;
  #reader: TableReader | undefined;

  private constructor(database: Database) {
    this.#database = database;
  }

  /** Puts the settings of the database in force, and from then on every change. Rejects where it does not answer. */
  static async open(database: Database, settings: Settings): Promise<StoredSettings> {
    const stored = new StoredSettings(database);
    stored.#reader = await TableReader.open({
      database,
      channel: CHANNEL,
      read: async () => settings.replace(await readChosen(database.db)),
      onAway: () => void settings.emit('view'),
    });
    settings.keepIn(stored);
    return stored;
  }

  get away(): string | null {
    return this.#reader?.away ?? null;
  }

  async write(changes: SettingChanges, by: string): Promise<void> {
    try {
      await changeAndTell(this.#database.db, CHANNEL, async (db) => {
        for (const [name, value] of Object.entries(changes)) await put(db, PREFIX + name, value, by);
      });
    } catch (error) {
      throw new SettingsError('away', unchangedText(error), undefined, { cause: error });
    }
    await this.#reader?.refresh();
  }

  async close(): Promise<void> {
    await this.#reader?.close();
  }
}

async function put(db: Kysely<Tables>, name: string, value: unknown, by: string): Promise<void> {
  if (value === null) {
    await db.deleteFrom('settings').where('name', '=', name).execute();
    return;
  }
  const row = { name, value: JSON.stringify({ value, by }) };
  await db
    .insertInto('settings')
    .values(row)
    .onConflict((conflict) => conflict.column('name').doUpdateSet({ value: row.value, changed_at: sql`now()` }))
    .execute();
}

/** Values that are not valid here, as another version may have written them, are as if they were not there. */
async function readChosen(db: Kysely<Tables>): Promise<Map<SettingName, Chosen>> {
  const names = SETTING_NAMES.map((name) => PREFIX + name);
  const rows = await db.selectFrom('settings').selectAll().where('name', 'in', names).execute();
  const chosen = new Map<SettingName, Chosen>();
  for (const { name: full, value: kept, changed_at: at } of rows) {
    const name = full.slice(PREFIX.length) as SettingName;
    const { value, by } = (kept ?? {}) as { value?: unknown; by?: unknown };
    const parsed = entryOf(name).schema.safeParse(value);
    if (parsed.success) chosen.set(name, { value: parsed.data, by: String(by), at });
  }
  return chosen;
}
