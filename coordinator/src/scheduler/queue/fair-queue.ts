/** Cost of a prompt position and of a generated token (Sheng et al. 2024, §3.1): roughly as they are priced. */
export const PROMPT_COST = 1;
export const TOKEN_COST = 2;

/** A client may hold at most this many times as many places as are free. */
const FREE_PLACES_FACTOR = 3;
/** Clients without a request that are remembered, at about 100 B each. */
const MAX_IDLE_CLIENTS = 4096;

interface Account<T> {
  client: string;
  /** The virtual token counter: cost charged since it was last level with the others. */
  used: number;
  waiting: Entry<T>[];
  running: number;
}

interface Entry<T> {
  item: T;
  arrival: number;
}

export interface FairQueueOptions<T> {
  /** Items that may wait. */
  maxQueue: number;
  clientOf: (item: T) => string;
  /** Expected cost of the item to its client, for looking ahead in the order. */
  costOf: (item: T) => number;
  /** The most that a returning client may be charged beyond the others: the cost of the largest request. */
  maxLead: number;
}

/**
 * A queue that is fair between clients: the next turn goes to the client that has used least, and within a client to its first
 * request. Virtual token counters (Sheng et al. 2024, "Fairness in Serving Large Language Models", algorithm 2): a client's
 * counter grows with what is computed for it. The counter of a client that had nothing waiting is lifted to the lowest of those
 * that have, so that idleness earns no credit, or to where the last turn began if there are none (Goyal et al. 1997, start-time
 * fair queueing). The service of clients that always have requests waiting then differs by a constant bound (theorem 4.4).
 * Beyond the paper, a returning client is charged at most `maxLead` of what it used while the others wanted little.
 */
export class FairQueue<T> {
  readonly #options: FairQueueOptions<T>;
  readonly #accounts = new Map<string, Account<T>>();
  /** Virtual time: the highest counter at which a turn began. */
  #begun = 0;
  #arrivals = 0;
  #length = 0;

  constructor(options: FairQueueOptions<T>) {
    this.#options = options;
  }

  get length(): number {
    return this.#length;
  }

  /** All waiting items, in order of arrival. */
  get items(): T[] {
    const entries = [...this.#accounts.values()].flatMap(({ waiting }) => waiting);
    return entries.sort((a, b) => a.arrival - b.arrival).map(({ item }) => item);
  }

  get isFull(): boolean {
    return this.#length >= this.#options.maxQueue;
  }

  /**
   * Whether the client has its share of the queue: three times what is free (dynamic thresholds, Choudhury and Hahne 1998). A
   * single client gets three quarters of the queue, and the next client always finds a place.
   */
  hasItsShare(client: string): boolean {
    const waiting = this.#accounts.get(client)?.waiting.length ?? 0;
    return waiting > 0 && waiting >= FREE_PLACES_FACTOR * (this.#options.maxQueue - this.#length);
  }

  /** Adds an item, even if the queue is full. */
  add(item: T): void {
    const account = this.#account(this.#options.clientOf(item));
    if (account.waiting.length === 0) {
      const level = this.#level();
      account.used = Math.min(Math.max(account.used, level), level + this.#options.maxLead);
    }
    account.waiting.push({ item, arrival: this.#arrivals++ });
    this.#length++;
  }

  /** Takes an item out because its turn has come, and charges `cost`; `end` must follow. */
  take(item: T, cost: number): void {
    const account = this.#account(this.#options.clientOf(item));
    this.#leave(account, (entry) => entry.item === item);
    this.#begun = Math.max(this.#begun, account.used);
    account.used += cost;
    account.running++;
  }

  /** Ends an item that was taken. */
  end(item: T): void {
    const account = this.#account(this.#options.clientOf(item));
    account.running--;
    this.#forget(account);
  }

  /** Removes waiting items that are gone. */
  drop(gone: (item: T) => boolean): void {
    const left = [...this.#accounts.values()].filter((account) => this.#leave(account, (entry) => gone(entry.item)));
    for (const account of left) this.#forget(account);
  }

  /** Charges a client for something that was computed for it. */
  charge(client: string, cost: number): void {
    const account = this.#accounts.get(client);
    if (account) account.used += cost;
  }

  /** The waiting items in the order in which they would be taken if nothing changed. The queue must not change meanwhile. */
  *order(): Generator<T, void> {
    const heads = [...this.#accounts.values()]
      .filter(({ waiting }) => waiting.length > 0)
      .map(({ used, waiting }) => ({ used, waiting, next: 0 }));
    while (heads.length > 0) {
      let first = 0;
      for (let i = 1; i < heads.length; i++) if (precedes(heads[i]!, heads[first]!)) first = i;
      const head = heads[first]!;
      const { item } = head.waiting[head.next++]!;
      yield item;
      head.used += this.#options.costOf(item);
      if (head.next === head.waiting.length) heads.splice(first, 1);
    }
  }

  #account(client: string): Account<T> {
    let account = this.#accounts.get(client);
    if (!account) this.#accounts.set(client, (account = { client, used: 0, waiting: [], running: 0 }));
    return account;
  }

  /** The counter that a client with nothing waiting is lifted to. */
  #level(): number {
    let least = Number.POSITIVE_INFINITY;
    for (const { used, waiting } of this.#accounts.values()) if (waiting.length > 0) least = Math.min(least, used);
    return Number.isFinite(least) ? least : this.#begun;
  }

  /** Removes items from an account; returns whether there were any. */
  #leave(account: Account<T>, gone: (entry: Entry<T>) => boolean): boolean {
    const stay = account.waiting.filter((entry) => !gone(entry));
    const left = account.waiting.length - stay.length;
    if (left === 0) return false;
    account.waiting = stay;
    this.#length -= left;
    return true;
  }

  /** Drops an account that would start at its present level again, and all accounts when no client is served. */
  #forget(account: Account<T>): void {
    if (!isIdle(account)) return;
    if (account.used <= this.#level()) this.#accounts.delete(account.client);
    const accounts = [...this.#accounts.values()];
    if (accounts.every(isIdle)) {
      this.#accounts.clear();
      this.#begun = 0;
    } else if (accounts.length > MAX_IDLE_CLIENTS + this.#options.maxQueue) {
      for (const idle of accounts.filter(isIdle)) this.#accounts.delete(idle.client);
    }
  }
}

function isIdle({ waiting, running }: Pick<Account<unknown>, 'waiting' | 'running'>): boolean {
  return waiting.length === 0 && running === 0;
}

interface Head<T> {
  used: number;
  waiting: Entry<T>[];
  next: number;
}

function precedes<T>(a: Head<T>, b: Head<T>): boolean {
  return a.used < b.used || (a.used === b.used && a.waiting[a.next]!.arrival < b.waiting[b.next]!.arrival);
}
