import { EventEmitter } from 'node:events';
import type { ConsoleEvent } from '@shoal/protocol';
import { addressKey } from './address.ts';
import { setNewest } from './newest.ts';

/** Events kept for a console that connects later. */
const MAX_EVENTS = 1000;

/** Events a minute about the tabs of one address. A school class that joins and leaves makes no more. */
const MAX_EVENTS_PER_MINUTE = 120;
const MINUTE_MS = 60_000;
/** Addresses whose events are counted. */
const MAX_SOURCES = 10_000;

export type NewEvent = Omit<ConsoleEvent, 'seq' | 'timeMs'>;

/** The event log that the console shows: sentences, newest last, bounded. */
export class EventLog {
  /** `added`: an event has been added to the log. */
  readonly events = new EventEmitter<{ added: [event: ConsoleEvent] }>();
  readonly #log: ConsoleEvent[] = [];
  /** By network, events since the beginning of its minute. */
  readonly #sources = new Map<string, { sinceMs: number; events: number }>();
  readonly #nowMs: () => number;
  #seq = 0;

  /** @param nowMs monotonic, in milliseconds */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** `address`: whose tab the event is about. One address cannot fill the log: after many events in a minute the rest is left out. */
  add(event: NewEvent, address?: string): void {
    if (address === undefined) return this.#append(event);
    const left = this.#left(addressKey(address));
    if (left > 0) this.#append(event);
    if (left !== 1) return;
    const text = `Further events of tabs from ${address} are left out for up to a minute`;
    this.#append({ level: 'warning', kind: 'server', text });
  }

  all(): readonly ConsoleEvent[] {
    return this.#log;
  }

  /** How many events the network may still add in its minute, this one included. */
  #left(network: string): number {
    const nowMs = this.#nowMs();
    const known = this.#sources.get(network);
    const isOver = known === undefined || nowMs - known.sinceMs >= MINUTE_MS;
    const source = isOver ? { sinceMs: nowMs, events: 0 } : known;
    setNewest(this.#sources, network, source, MAX_SOURCES);
    return MAX_EVENTS_PER_MINUTE - source.events++;
  }

  #append(event: NewEvent): void {
    const full = { seq: ++this.#seq, timeMs: Date.now(), ...event };
    this.#log.push(full);
    if (this.#log.length > MAX_EVENTS) this.#log.shift();
    this.events.emit('added', full);
  }
}
