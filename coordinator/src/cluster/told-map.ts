import type { z } from 'zod';
import { MAX_TOLD_ENTRIES } from './bus-messages.ts';
import { ALL, type Cluster } from './cluster.ts';

/** Changes of this time are told together. */
const GATHER_MS = 100;
/** Entries of one member that are kept. */
const MAX_ENTRIES = 20_000;

/**
 * A map that each member has for itself and tells the others, which so know what all have. What others told last holds until they
 * are declared dead. Nothing is kept, and a value may be late: it is for counts and figures.
 */
export class ToldMap<T> {
  readonly #cluster: Pick<Cluster, 'bus' | 'members'>;
  readonly #name: string;
  readonly #schema: z.ZodType<T>;
  readonly #own = new Map<string, T>();
  readonly #others = new Map<string, Map<string, T>>();
  readonly #changed = new Set<string>();
  readonly #stops: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** @param name the same at all members, and of no other map */
  constructor(cluster: Pick<Cluster, 'bus' | 'members'>, name: string, schema: z.ZodType<T>) {
    this.#cluster = cluster;
    this.#name = name;
    this.#schema = schema;
    const { bus, members } = cluster;
    const onJoined = ({ id }: { id: string }): void => this.#tellAll(id);
    const onLeft = ({ id }: { id: string }): unknown => this.#others.delete(id);
    const ask = (): void => bus.send(ALL, 'tell', { map: name });
    const onReturned = (): void => this.#tellAll(ALL);
    members.events.on('joined', onJoined).on('left', onLeft).on('returned', onReturned);
    bus.events.on('missed', ask);
    this.#stops.push(
      bus.on('tell', (from, message) => message.map === name && this.#tellAll(from)),
      bus.on('told', (from, message) => message.map === name && this.#hear(from, message)),
      () => members.events.off('joined', onJoined).off('left', onLeft).off('returned', onReturned),
      () => bus.events.off('missed', ask),
    );
    ask();
  }

  /** Undefined deletes the entry. */
  set(key: string, value: T | undefined): void {
    if (value === undefined) this.#own.delete(key);
    else this.#own.set(key, value);
    if (this.#cluster.members.alive().length < 2) return;
    this.#changed.add(key);
    this.#timer ??= setTimeout(() => this.#tellChanges(), GATHER_MS).unref();
  }

  /** What the others told, by member. */
  others(): ReadonlyMap<string, ReadonlyMap<string, T>> {
    return this.#others;
  }

  /** The others' values of one key. */
  *of(key: string): Iterable<T> {
    for (const entries of this.#others.values()) {
      const value = entries.get(key);
      if (value !== undefined) yield value;
    }
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const stop of this.#stops) stop();
  }

  #tellChanges(): void {
    this.#timer = undefined;
    const keys = [...this.#changed];
    this.#changed.clear();
    this.#send(
      ALL,
      keys.map((key) => [key, this.#own.get(key) ?? null]),
      false,
    );
  }

  #tellAll(to: string): void {
    this.#send(to, [...this.#own], true);
  }

  #send(to: string, entries: [string, unknown][], isAll: boolean): void {
    const { bus } = this.#cluster;
    const part = (from: number) => entries.slice(from, from + MAX_TOLD_ENTRIES);
    // All of it may be nothing.
    if (isAll) bus.send(to, 'told', { map: this.#name, isAll, entries: part(0) });
    for (let i = isAll ? MAX_TOLD_ENTRIES : 0; i < entries.length; i += MAX_TOLD_ENTRIES)
      bus.send(to, 'told', { map: this.#name, isAll: false, entries: part(i) });
  }

  #hear(from: string, { isAll, entries }: { isAll: boolean; entries: [string, unknown][] }): void {
    const known = isAll ? new Map<string, T>() : (this.#others.get(from) ?? new Map<string, T>());
    this.#others.set(from, known);
    for (const [key, value] of entries) {
      const parsed = value === null ? undefined : this.#schema.safeParse(value).data;
      if (parsed === undefined) known.delete(key);
      else if (known.size < MAX_ENTRIES) known.set(key, parsed);
    }
  }
}
