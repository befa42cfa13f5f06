import type { EventLog } from '../base/event-log.ts';
import { type Database, WriteQueue } from '../database/index.ts';
import type { Quarantine } from '../trust/quarantine.ts';
import type { Trust } from '../trust/trust.ts';
import { keepEvents } from './events.ts';
import { keepFindings, keepQuarantine } from './quarantine-records.ts';
import { deleteOldRegularly } from './retention.ts';
import { UsageRecords } from './usage.ts';

/** What is written to the database, and read back from it. */
export class Records {
  readonly database: Database;
  readonly queue: WriteQueue;
  readonly usage: UsageRecords;
  /** Durations of batches in seconds, for a histogram. */
  onBatch: (seconds: number) => void = () => {};
  readonly #stops: (() => void)[] = [];

  /**
   * @param events the log, which is filled with earlier events, and told of what goes wrong
   * @param member names this coordinator among those that write to the database
   */
  static async open(database: Database, events: EventLog, quarantine: Quarantine, member: string): Promise<Records> {
    const records = new Records(database, events);
    await keepQuarantine(quarantine, database, records.queue);
    records.#stops.push(await keepEvents(events, database, records.queue, member));
    return records;
  }

  private constructor(database: Database, events: EventLog) {
    this.database = database;
    const warn = (text: string): void => events.add({ level: 'warning', kind: 'server', text });
    this.queue = new WriteQueue(database, { onError: warn, onBatch: (tookMs) => this.onBatch(tookMs / 1000) });
    this.usage = new UsageRecords(this.queue);
    const away = (why: string): void =>
      warn(
        `The database does not answer (${why}). Nothing waits for it; what is to be kept is written when it is back.`,
      );
    const back = (awayMs: number): void =>
      events.add({ level: 'info', kind: 'server', text: `The database is back after ${Math.round(awayMs / 1000)} s` });
    database.events.on('away', away).on('back', back);
    this.#stops.push(() => database.events.off('away', away).off('back', back), deleteOldRegularly(database));
  }

  /** Keeps what audits find. */
  watch(trust: Trust): void {
    this.#stops.push(keepFindings(trust, this.queue));
  }

  /** Writes what is left, within a few seconds. The database stays open. */
  async close(): Promise<void> {
    for (const stop of this.#stops.splice(0)) stop();
    await this.queue.close();
  }
}
