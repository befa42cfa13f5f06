/** What a prompt position and a generated token count, as in Sheng et al. 2024, §3.1: about as they are priced. */
export const PROMPT_COST = 1;
export const TOKEN_COST = 2;

/** A client may wait in at most so many times as many places as are free. */
const FREE_PLACES_FACTOR = 3;
/** Clients without a request that are remembered; at most some 100 B each. */
const MAX_IDLE_CLIENTS = 4096;

interface Account<T> {
  client: string;
  /** The virtual token counter: what it has used since it was last even with the others. */
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
  /** What taking the item is expected to cost its client, for looking ahead in the order. */
  costOf: (item: T) => number;
  /** What a client that comes back may have used more than others have: as much as one request costs at most. */
  maxLead: number;
}

/**
 * Who waits, and whose turn it is: the client that has used least, and of its requests the first. Virtual token counters
 * (Sheng et al. 2024, "Fairness in Serving Large Language Models", algorithm 2): a client's counter grows with what is
 * computed for it; one that had nothing waiting is lifted to the least of those who have, so that idleness earns no credit,
 * and where nobody has, to where the last turn began (Goyal et al. 1997, start-time fair queueing). For clients that always
 * have something waiting, what they get then differs by a bound that no time adds to (theorem 4.4). Beyond the paper, one
 * that comes back is let off most of what it used while others wanted little: `maxLead` of it counts.
 */
export class FairQueue<T> {
  readonly #options: FairQueueOptions<T>;
  readonly #accounts = new Map<string, Account<T>>();
  /** Virtual time: the greatest counter with which a turn began. */
  #begun = 0;
  #arrivals = 0;
  #length = 0;

  constructor(options: FairQueueOptions<T>) {
    this.#options = options;
  }

  get length(): number {
    return this.#length;
  }

  /** All that wait, in order of arrival. */
  get items(): T[] {
    const entries = [...this.#accounts.values()].flatMap(({ waiting }) => waiting);
    return entries.sort((a, b) => a.arrival - b.arrival).map(({ item }) => item);
  }

  get isFull(): boolean {
    return this.#length >= this.#options.maxQueue;
  }

  /**
   * Whether the client has as many waiting as it may: three times what is free (dynamic thresholds, Choudhury and Hahne
   * 1998), so that one alone has three quarters of the queue, and whoever comes next always finds a place.
   */
  hasItsShare(client: string): boolean {
    const waiting = this.#accounts.get(client)?.waiting.length ?? 0;
    return waiting > 0 && waiting >= FREE_PLACES_FACTOR * (this.#options.maxQueue - this.#length);
  }

  /** It waits from now on, whether or not there is a place. */
  add(item: T): void {
    const account = this.#account(this.#options.clientOf(item));
    if (account.waiting.length === 0) {
      const level = this.#level();
      account.used = Math.min(Math.max(account.used, level), level + this.#options.maxLead);
    }
    account.waiting.push({ item, arrival: this.#arrivals++ });
    this.#length++;
  }

  /** Its turn has come; it costs `cost` at once, and is to be ended by `end`. */
  take(item: T, cost: number): void {
    const account = this.#account(this.#options.clientOf(item));
    this.#leave(account, (entry) => entry.item === item);
    this.#begun = Math.max(this.#begun, account.used);
    account.used += cost;
    account.running++;
  }

  /** What was taken is over. */
  end(item: T): void {
    const account = this.#account(this.#options.clientOf(item));
    account.running--;
    this.#forget(account);
  }

  /** Let go of those that wait no longer. */
  drop(gone: (item: T) => boolean): void {
    const left = [...this.#accounts.values()].filter((account) => this.#leave(account, (entry) => gone(entry.item)));
    for (const account of left) this.#forget(account);
  }

  /** Something was computed for the client. */
  charge(client: string, cost: number): void {
    const account = this.#accounts.get(client);
    if (account) account.used += cost;
  }

  /** In the order in which they would be taken if nobody came and nothing else was charged. The queue must not change meanwhile. */
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

  /** What a client that has nothing waiting is lifted to. */
  #level(): number {
    let least = Number.POSITIVE_INFINITY;
    for (const { used, waiting } of this.#accounts.values()) if (waiting.length > 0) least = Math.min(least, used);
    return Number.isFinite(least) ? least : this.#begun;
  }

  /** Whether any of the client's have left. */
  #leave(account: Account<T>, gone: (entry: Entry<T>) => boolean): boolean {
    const stay = account.waiting.filter((entry) => !gone(entry));
    const left = account.waiting.length - stay.length;
    if (left === 0) return false;
    account.waiting = stay;
    this.#length -= left;
    return true;
  }

  /** An account that would begin at its own level again need not be kept, and none where nobody is served. */
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
