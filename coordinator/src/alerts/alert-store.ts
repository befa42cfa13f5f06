import { type AttentionItem, attentionItemSchema } from '@shoal/protocol';
import type { Book, Database, WriteQueue } from '../database/index.ts';
import type { AlertStore, OpenAlert } from './alerter.ts';

interface AlertRow {
  cluster: string;
  key: string;
  /** Null: it is over. */
  alert: { id: string; item: AttentionItem } | null;
}

const ALERTS: Book<AlertRow> = {
  what: 'alerts',
  async write(db, rows) {
    // One after the other: there are few, and their order counts.
    for (const { cluster, key, alert } of rows) {
      if (alert === null) {
        await db.deleteFrom('alerts').where('cluster', '=', cluster).where('key', '=', key).execute();
        continue;
      }
      const values = { id: alert.id, item: JSON.stringify(alert.item) };
      await db
        .insertInto('alerts')
        .values({ cluster, key, ...values })
        .onConflict((conflict) => conflict.columns(['cluster', 'key']).doUpdateSet(values))
        .execute();
    }
  },
};

/** Open alerts of a cluster in the database. */
export function databaseAlerts(database: Database, queue: WriteQueue, cluster: string): AlertStore {
  const write = queue.rowsOf(ALERTS);
  return {
    async read(): Promise<OpenAlert[]> {
      const rows = await database.db
        .selectFrom('alerts')
        .select(['id', 'item'])
        .where('cluster', '=', cluster)
        .execute();
      return rows.flatMap(({ id, item }) => {
        const parsed = attentionItemSchema.safeParse(item);
        return parsed.success ? [{ id, item: parsed.data }] : [];
      });
    },
    put: ({ id, item }) => write({ cluster, key: item.key, alert: { id, item } }),
    remove: (key) => write({ cluster, key, alert: null }),
  };
}

/** Open alerts of a process that keeps nothing. */
export const forgetfulAlerts: AlertStore = { read: () => Promise.resolve([]), put() {}, remove() {} };
