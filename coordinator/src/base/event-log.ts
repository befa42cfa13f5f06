import { EventEmitter } from 'node:events';
import type { ConsoleEvent } from '@shoal/protocol';

/** Events kept for a console that connects later. */
const MAX_EVENTS = 1000;

export type NewEvent = Omit<ConsoleEvent, 'seq' | 'timeMs'>;

/** The event log that the console shows: sentences, newest last, bounded. */
export class EventLog {
  /** `added`: an event has been added to the log. */
  readonly events = new EventEmitter<{ added: [event: ConsoleEvent] }>();
  readonly #log: ConsoleEvent[] = [];
  #seq = 0;

  add(event: NewEvent): void {
    const full = { seq: ++this.#seq, timeMs: Date.now(), ...event };
    this.#log.push(full);
    if (this.#log.length > MAX_EVENTS) this.#log.shift();
    this.events.emit('added', full);
  }

  all(): readonly ConsoleEvent[] {
    return this.#log;
  }
}
