import { EventEmitter } from 'node:events';
import type { ConsoleEvent } from '@shoal/protocol';
import { networksOf } from './address.ts';
import { setNewest } from './newest.ts';

/** Events kept for a console that connects later. */
const MAX_EVENTS = 1000;

/**
 * Events of one level a minute: about the tabs of one address, as many as a school class makes that joins, is tested, serves
 * and leaves; and about one tab. Each level counts by itself, so that much talk hides no misdeed.
 */
const MAX_PER_MINUTE = { ofAddress: 200, ofTab: 12 };
const MINUTE_MS = 60_000;
/** Tabs and networks whose events are counted, by level; about 150 B each. */
const MAX_COUNTERS = 20_000;

export type NewEvent = Omit<ConsoleEvent, 'seq' | 'timeMs'>;

/** Events since the beginning of its minute. */
interface Counter {
  sinceMs: number;
  events: number;
  /** Whether the log says that some are left out. */
  told: boolean;
}

/** The event log that the console shows: sentences, newest last, bounded. */
export class EventLog {
  /** `added`: an event has been added to the log. */
  readonly events = new EventEmitter<{ added: [event: ConsoleEvent] }>();
  readonly #log: ConsoleEvent[] = [];
  /** By level, and tab or network. */
  readonly #counters = new Map<string, Counter>();
  readonly #nowMs: () => number;
  #seq = 0;

  /** @param nowMs monotonic, in milliseconds */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /**
   * `address`: whose tab the event is about. Neither an address nor a tab can fill the log: after many events of a level in a
   * minute the rest is left out, and the log says so once.
   */
  add(event: NewEvent, address?: string): void {
    if (address === undefined) return this.#append(event);
    const { level, peerId } = event;
    const counted = networksOf(address).map(({ key, share }) => {
      const counter = this.#counter(`${level} ${key}`);
      return { counter, most: MAX_PER_MINUTE.ofAddress * share, whose: `tabs from ${key}` };
    });
    if (peerId !== undefined)
      counted.unshift({ counter: this.#counter(`${level} ${peerId}`), most: MAX_PER_MINUTE.ofTab, whose: peerId });
    const full = counted.find(({ counter, most }) => counter.events >= most);
    if (full === undefined) {
      for (const { counter } of counted) counter.events++;
      this.#append(event);
    } else if (!full.counter.told) {
      full.counter.told = true;
      const text = `Further events of ${full.whose} (${level}) are left out for up to a minute`;
      this.#append({ level: 'warning', kind: 'server', text });
    }
  }

  /** Takes up an event of another coordinator, which has counted it. */
  hear(event: Omit<ConsoleEvent, 'seq'>): void {
    this.#keep({ ...event, seq: ++this.#seq });
  }

  all(): readonly ConsoleEvent[] {
    return this.#log;
  }

  #counter(key: string): Counter {
    const nowMs = this.#nowMs();
    const known = this.#counters.get(key);
    const isOver = known === undefined || nowMs - known.sinceMs >= MINUTE_MS;
    const counter = isOver ? { sinceMs: nowMs, events: 0, told: false } : known;
    return setNewest(this.#counters, key, counter, MAX_COUNTERS);
  }

  #append(event: NewEvent): void {
    this.#keep({ seq: ++this.#seq, timeMs: Date.now(), ...event });
  }

  #keep(event: ConsoleEvent): void {
    this.#log.push(event);
    if (this.#log.length > MAX_EVENTS) this.#log.shift();
    this.events.emit('added', event);
  }
}
