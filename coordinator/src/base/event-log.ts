import type { ConsoleEvent } from '@shoal/protocol';

/** Events kept for a console that connects later. */
const MAX_EVENTS = 1000;

export type NewEvent = Omit<ConsoleEvent, 'seq' | 'timeMs'>;

/** What happened, in sentences, newest last; bounded. */
export class EventLog {
  readonly #events: ConsoleEvent[] = [];
  readonly #listeners = new Set<(event: ConsoleEvent) => void>();
  #seq = 0;

  add(event: NewEvent): void {
    const full = { seq: ++this.#seq, timeMs: Date.now(), ...event };
    this.#events.push(full);
    if (this.#events.length > MAX_EVENTS) this.#events.shift();
    for (const listener of this.#listeners) listener(full);
  }

  all(): readonly ConsoleEvent[] {
    return this.#events;
  }

  /** Returns the call that ends it. */
  listen(listener: (event: ConsoleEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
