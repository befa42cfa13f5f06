/** What a stored answer and its conversation are made of: JSON objects, each item with an id. */
export interface StoredItem {
  id: string;
  [name: string]: unknown;
}

export interface StoredResponse {
  id: string;
  output: StoredItem[];
  [name: string]: unknown;
}

/** Who keeps an answer: whose share of the store it uses, and who may read it. */
export interface Keeper {
  client: string | undefined;
  scope: string | undefined;
}

export interface StoreLimits {
  /** Answers, of all clients together. */
  entries: number;
  /** Of all of them, as JSON. */
  bytes: number;
  /** Of one conversation. */
  conversationBytes: number;
  /** Since an answer was last used. */
  keepMs: number;
}

export const DEFAULT_STORE_LIMITS: StoreLimits = {
  entries: 4_096,
  // 64 conversations of the largest size, or thousands of usual ones.
  bytes: 64 << 20,
  // As much as a request's body may have: a longer one could not have been sent whole either.
  conversationBytes: 1 << 20,
  // A person may leave a conversation for a meal or a meeting.
  keepMs: 4 * 3_600_000,
};

/** What objects, maps and their keys take in memory beside the JSON. */
const OVERHEAD_BYTES = 512;
const ITEM_OVERHEAD_BYTES = 128;

/** What one answer added to its conversation: its input and its output. Later answers may refer to it, so it may outlive the answer. */
interface Turn {
  previous: Turn | undefined;
  /** As UTF-8, so that its size is known: [input, output]. */
  json: Buffer;
  ids: string[];
  bytes: number;
  /** Of this and all turns before it. */
  conversationBytes: number;
  /** Answers and later turns that need it. At 0 it is forgotten. */
  uses: number;
  scope: string | undefined;
  owner: Owner;
}

interface Entry {
  id: string;
  scope: string | undefined;
  owner: Owner;
  /** The answer without its output, which its turn has. */
  json: Buffer;
  bytes: number;
  turn: Turn;
  usedAtMs: number;
}

interface Owner {
  client: string | undefined;
  bytes: number;
  /** The least recently used first. */
  entries: Map<string, Entry>;
}

/** A stored answer that a client may read. */
export interface Found {
  response: StoredResponse;
  /** All items that the answer was made from, and its own. */
  input: StoredItem[];
  turn: object;
}

/**
 * Answers of /v1/responses, in memory. It is bounded in number, bytes and time. Who is over the bounds loses answers first: the
 * client that has most loses its least recently used, so nobody can push out the answers of others.
 */
export class ResponseStore {
  readonly #limits: StoreLimits;
  readonly #nowMs: () => number;
  readonly #entries = new Map<string, Entry>();
  readonly #owners = new Map<string | undefined, Owner>();
  /** Turns by scope and an item's id. */
  readonly #items = new Map<string, Turn>();
  #bytes = 0;

  constructor(limits: Partial<StoreLimits> = {}, nowMs: () => number = () => performance.now()) {
    this.#limits = { ...DEFAULT_STORE_LIMITS, ...limits };
    this.#nowMs = nowMs;
  }

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Undefined both for an id that is unknown and for one of another scope. */
  find(id: string, scope: string | undefined): Found | undefined {
    const entry = this.#readable(id, scope);
    if (!entry) return undefined;
    entry.usedAtMs = this.#nowMs();
    entry.owner.entries.delete(id);
    entry.owner.entries.set(id, entry);
    const [input, output] = parse(entry.turn);
    const response = { ...(JSON.parse(entry.json.toString()) as object), output } as StoredResponse;
    return { response, input: [...itemsUpTo(entry.turn.previous), ...input], turn: entry.turn };
  }

  /** Reads items of any stored conversation of the scope, for one request. */
  reader(scope: string | undefined): ItemReader {
    return new ItemReader((id) => this.#items.get(itemKey(id, scope)), this.#limits.conversationBytes);
  }

  /**
   * Keeps an answer whose conversation went on from `previous` with `input`. False: the conversation is too large, and the answer
   * is not kept.
   */
  add(response: StoredResponse, input: readonly StoredItem[], previous: Found | undefined, keeper: Keeper): boolean {
    const { output, ...rest } = response;
    const owner = this.#owner(keeper.client);
    const turn = newTurn(input, output, previous, keeper.scope, owner);
    const json = Buffer.from(JSON.stringify(rest));
    if (turn.conversationBytes + json.length > this.#limits.conversationBytes) {
      this.#dropEmpty(owner);
      return false;
    }
    const bytes = json.length + OVERHEAD_BYTES;
    const { id } = response;
    const entry = { id, scope: keeper.scope, owner, json, bytes, turn, usedAtMs: this.#nowMs() };
    this.#count(owner, turn.bytes + bytes);
    if (turn.previous) turn.previous.uses++;
    for (const item of turn.ids) this.#items.set(itemKey(item, keeper.scope), turn);
    this.#entries.set(id, entry);
    owner.entries.set(id, entry);
    this.#shrink();
    return true;
  }

  /** False if there is none that the client may delete. */
  delete(id: string, scope: string | undefined): boolean {
    const entry = this.#readable(id, scope);
    if (entry) this.#remove(entry);
    return entry !== undefined;
  }

  /** Forgets what has not been used for too long. To be called now and then. */
  expire(): void {
    // Deleting from a map while it is gone through is defined: what is deleted is not visited.
    for (const owner of this.#owners.values()) {
      for (const entry of owner.entries.values()) {
        if (!this.#isExpired(entry)) break;
        this.#remove(entry);
      }
    }
  }

  #readable(id: string, scope: string | undefined): Entry | undefined {
    const entry = this.#entries.get(id);
    return entry && entry.scope === scope && !this.#isExpired(entry) ? entry : undefined;
  }

  #isExpired({ usedAtMs }: Entry): boolean {
    return this.#nowMs() - usedAtMs >= this.#limits.keepMs;
  }

  #shrink(): void {
    while (this.#entries.size > this.#limits.entries) this.#removeOldest((owner) => owner.entries.size);
    while (this.#bytes > this.#limits.bytes) this.#removeOldest((owner) => owner.bytes);
  }

  /** Of the owner that has most. */
  #removeOldest(amount: (owner: Owner) => number): void {
    let most: Owner | undefined;
    for (const owner of this.#owners.values()) if (!most || amount(owner) > amount(most)) most = owner;
    const [oldest] = most!.entries.values();
    this.#remove(oldest!);
  }

  #remove(entry: Entry): void {
    this.#entries.delete(entry.id);
    entry.owner.entries.delete(entry.id);
    this.#count(entry.owner, -entry.bytes);
    this.#release(entry.turn);
    this.#dropEmpty(entry.owner);
  }

  #release(turn: Turn): void {
    for (let at: Turn | undefined = turn; at && --at.uses === 0; at = at.previous) {
      this.#count(at.owner, -at.bytes);
      for (const id of at.ids) {
        const key = itemKey(id, at.scope);
        if (this.#items.get(key) === at) this.#items.delete(key);
      }
    }
  }

  #count(owner: Owner, bytes: number): void {
    owner.bytes += bytes;
    this.#bytes += bytes;
  }

  #owner(client: string | undefined): Owner {
    const known = this.#owners.get(client);
    if (known) return known;
    const owner = { client, bytes: 0, entries: new Map() };
    this.#owners.set(client, owner);
    return owner;
  }

  #dropEmpty(owner: Owner): void {
    if (owner.entries.size === 0) this.#owners.delete(owner.client);
  }
}

/**
 * Reads stored items by their ids, each turn once, and of no more bytes in all than a conversation may have: a reference is short,
 * and many of them must not multiply what they stand for.
 */
export class ItemReader {
  readonly #turnOf: (id: string) => Turn | undefined;
  readonly #items = new Map<Turn, Map<string, { item: StoredItem; bytes: number }>>();
  #bytesLeft: number;

  constructor(turnOf: (id: string) => Turn | undefined, bytes: number) {
    this.#turnOf = turnOf;
    this.#bytesLeft = bytes;
  }

  /** Undefined if there is no such item; `too-large` if it and those before it have more bytes than a conversation may. */
  item(id: string): StoredItem | 'too-large' | undefined {
    const turn = this.#turnOf(id);
    if (!turn) return undefined;
    let items = this.#items.get(turn);
    if (!items) {
      if (!this.#spend(turn.json.length)) return 'too-large';
      const all = parse(turn).flat();
      items = new Map(all.map((item) => [item.id, { item, bytes: Buffer.byteLength(JSON.stringify(item)) }]));
      this.#items.set(turn, items);
    }
    const found = items.get(id);
    if (found && !this.#spend(found.bytes)) return 'too-large';
    return found?.item;
  }

  #spend(bytes: number): boolean {
    this.#bytesLeft -= bytes;
    return this.#bytesLeft >= 0;
  }
}

function newTurn(
  input: readonly StoredItem[],
  output: readonly StoredItem[],
  found: Found | undefined,
  scope: string | undefined,
  owner: Owner,
): Turn {
  const before = found?.turn as Turn | undefined;
  // The turns before may have been forgotten meanwhile. Then this one has all of the conversation.
  const previous = before && before.uses > 0 ? before : undefined;
  const all = before && !previous ? [...itemsUpTo(before), ...input] : input;
  const ids = [...all, ...output].map(({ id }) => id);
  const json = Buffer.from(JSON.stringify([all, output]));
  const idBytes = ids.reduce((sum, id) => sum + 2 * id.length + ITEM_OVERHEAD_BYTES, 0);
  const bytes = json.length + idBytes + OVERHEAD_BYTES;
  const conversationBytes = bytes + (previous?.conversationBytes ?? 0);
  return { previous, json, ids, bytes, conversationBytes, uses: 1, scope, owner };
}

/** The items of a turn and of all before it. */
function itemsUpTo(turn: Turn | undefined): StoredItem[] {
  const turns: StoredItem[][] = [];
  for (let at = turn; at; at = at.previous) turns.push(parse(at).flat());
  return turns.reverse().flat();
}

function parse({ json }: Turn): [input: StoredItem[], output: StoredItem[]] {
  return JSON.parse(json.toString()) as [StoredItem[], StoredItem[]];
}

function itemKey(id: string, scope: string | undefined): string {
  return JSON.stringify([scope ?? null, id]);
}

/** The whole conversation of a stored answer: what the next one goes on from. */
export function conversationAfter({ input, response }: Found): StoredItem[] {
  return [...input, ...response.output];
}
