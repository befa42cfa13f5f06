import { type Network, networksOf } from './address.ts';

/** Where an item comes from: the client, and the networks it is in, the narrowest first. */
export type Origin = readonly [Network, ...Network[]];

/** The origin of a client; `address`, if it has one, is an IPv4 address or, as limits have it, an IPv6 network of /64. */
export function originOf({
  client = 'everybody',
  address,
}: {
  client?: string | undefined;
  address?: string | undefined;
}): Origin {
  if (address === undefined) return [{ key: client, share: 1 }];
  const [narrowest, ...others] = networksOf(address.replace(/\/64$/, ''));
  return [narrowest!, ...others];
}

export interface QueueBounds {
  maxItems: number;
  /** For each share that a network has. */
  maxOfShare: number;
}

interface ClientItems<T> {
  origin: Origin;
  items: T[];
}

/**
 * A bounded queue that takes clients in turn, and each one's items in order. Where it is full, a client with fewer items than
 * another gets the place of that one's newest, so that no number of items keeps others out.
 */
export class ClientQueue<T> {
  readonly #bounds: QueueBounds;
  /** The client whose turn is next comes first. A client without items has no entry. */
  readonly #clients = new Map<string, ClientItems<T>>();
  /** Items of each network. */
  readonly #counts = new Map<string, number>();
  #size = 0;

  constructor(bounds: QueueBounds) {
    this.#bounds = bounds;
  }

  /** Returns which bound it reached, if it did not take the item, or the item that had to make room. */
  add(origin: Origin, item: T): { refused: 'full' | 'share-full' } | { displaced: T } | undefined {
    if (this.#crowd(origin, 1) > this.#bounds.maxOfShare) return { refused: 'share-full' };
    if (this.#size < this.#bounds.maxItems) {
      this.#push(origin, item);
      return undefined;
    }
    const victim = this.#mostCrowded();
    if (!victim || this.#crowd(victim.origin) <= this.#crowd(origin, 1)) return { refused: 'full' };
    const displaced = victim.items.at(-1)!;
    this.remove(victim.origin, displaced);
    this.#push(origin, item);
    return { displaced };
  }

  take(): T | undefined {
    for (const [key, client] of this.#clients) {
      const item = client.items[0]!;
      this.remove(client.origin, item);
      // To the end.
      if (this.#clients.delete(key)) this.#clients.set(key, client);
      return item;
    }
    return undefined;
  }

  remove(origin: Origin, item: T): void {
    const [{ key }] = origin;
    const items = this.#clients.get(key)?.items ?? [];
    const index = items.indexOf(item);
    if (index === -1) return;
    items.splice(index, 1);
    if (items.length === 0) this.#clients.delete(key);
    this.#count(origin, -1);
  }

  #push(origin: Origin, item: T): void {
    const [{ key }] = origin;
    const client = this.#clients.get(key);
    if (client) client.items.push(item);
    else this.#clients.set(key, { origin, items: [item] });
    this.#count(origin, 1);
  }

  #count(origin: Origin, change: 1 | -1): void {
    this.#size += change;
    for (const { key } of origin) {
      const count = (this.#counts.get(key) ?? 0) + change;
      if (count > 0) this.#counts.set(key, count);
      else this.#counts.delete(key);
    }
  }

  /** Items for each share, with so many more, of the network that has most. */
  #crowd(origin: Origin, more = 0): number {
    return Math.max(...origin.map(({ key, share }) => ((this.#counts.get(key) ?? 0) + more) / share));
  }

  /** Of several in one network the one with most, and of equal ones the latest. */
  #mostCrowded(): ClientItems<T> | undefined {
    let most: ClientItems<T> | undefined;
    let mostCrowd = 0;
    for (const client of this.#clients.values()) {
      const crowd = this.#crowd(client.origin);
      if (most && (crowd < mostCrowd || (crowd === mostCrowd && client.items.length < most.items.length))) continue;
      [most, mostCrowd] = [client, crowd];
    }
    return most;
  }
}
