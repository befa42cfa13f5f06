import type { ExpertAdapter } from '@shoal/model';
import {
  type Adapted,
  type AdapterShards as AdaptersMessage,
  MAX_ADAPTER_SHARD_BYTES,
  MAX_ADAPTER_SHARDS_PER_MESSAGE,
  MAX_ADAPTER_SHARDS_PER_TAB,
} from '@shoal/protocol';
import type { AdapterShard, AdapterShards } from '../adapters/adapter-shards.ts';
import { type Clock, type Timer } from '../base/clock.ts';

/** From an `adapters` message to the tab's answer. A tab gives up fetching after three quarters of it. */
const ANSWER_TIMEOUT_MS = 60_000;
/** What a tab refused, did not fetch in time or has no room for is not asked of it again for so long. */
const RETRY_MS = 30_000;
/** What was used within this time keeps its room: adapters that take turns would only push each other out. */
const IN_USE_MS = 10_000;
/** Bytes of one message's shards, which bounds the time that packing them takes at once. */
const MESSAGE_BYTES = 8 * 2 ** 20;

/** `waiting` to be asked of the tab, `asked`, `held` there but not tested, `live`; `refused` for a while. */
type State = 'waiting' | 'asked' | 'held' | 'live' | 'refused';

interface Entry {
  shard: AdapterShard;
  state: State;
  usedMs: number;
  /** Of a refused one. */
  untilMs: number;
}

export interface PeerAdaptersOptions {
  shards: AdapterShards;
  clock: Clock;
  send: (message: AdaptersMessage) => void;
  /** What the tab's experts, and those that it is to have, leave of the memory that it lends. */
  roomBytes: () => number;
  /** Whether the tab has loaded the expert, as it was told to. */
  hasExpert: (layer: number, expert: number) => boolean;
  /** Tests these on the tab. Resolves to whether all were right; rejects if that can't be told. */
  test: (adapters: readonly (AdapterShard & { adapter: ExpertAdapter })[]) => Promise<boolean>;
  /** There is no room for a shard. */
  onNoRoom: (shard: AdapterShard) => void;
  onEvicted: (count: number) => void;
}

/** The low-rank shards of one tab: what it holds, and what it is to fetch. */
export class PeerAdapters {
  readonly #options: PeerAdaptersOptions;
  /** The most recently used last. */
  readonly #entries = new Map<ExpertAdapter, Entry>();
  #timer: Timer | undefined;
  #isFlushing = false;
  #isClosed = false;

  constructor(options: PeerAdaptersOptions) {
    this.#options = options;
  }

  /** Of all that the tab holds or fetches, as far as the coordinator knows. */
  get bytes(): number {
    let bytes = 0;
    for (const { state, shard } of this.#entries.values())
      if (state !== 'waiting' && state !== 'refused') bytes += shard.bytes;
    return bytes;
  }

  /** Whether the tab has all that it was to fetch, and was tested. */
  get isSettled(): boolean {
    return [...this.#entries.values()].every(({ state }) => state === 'live' || state === 'refused');
  }

  /** Whether laps may name it: the tab has it, and was right about it. It counts as used. */
  serves(adapter: ExpertAdapter): boolean {
    const entry = this.#entries.get(adapter);
    if (entry?.state !== 'live') return false;
    this.#use(adapter, entry);
    return true;
  }

  /** A row needs it on this tab: it is asked for, unless it is already or was in vain a moment ago. */
  want(adapter: ExpertAdapter): void {
    const entry = this.#entries.get(adapter);
    const nowMs = this.#options.clock.now();
    if (entry && (entry.state !== 'refused' || nowMs < entry.untilMs)) return this.#use(adapter, entry);
    const shard = this.#options.shards.of(adapter);
    if (this.#isClosed || !shard || (!entry && this.#entries.size >= MAX_ADAPTER_SHARDS_PER_TAB)) return;
    this.#use(adapter, { shard, state: 'waiting', usedMs: nowMs, untilMs: 0 });
    void this.#flush();
  }

  /** The tab's answer to the last message, or what it has given up by itself. */
  async adapted({ held, refused, gone }: Adapted): Promise<void> {
    const byNumber = new Map([...this.#entries].map(([adapter, entry]) => [entry.shard.number, { adapter, entry }]));
    const known = (numbers: readonly number[]) => numbers.flatMap((number) => byNumber.get(number) ?? []);
    for (const { adapter } of known(gone)) this.#entries.delete(adapter);
    this.#options.onEvicted(known(gone).length);
    if (held.length + refused.length === 0) return;
    for (const { entry } of known(refused)) if (entry.state === 'asked') this.#refuse(entry);
    const fresh = known(held).filter(({ entry }) => entry.state === 'asked');
    for (const { entry } of fresh) entry.state = 'held';
    this.#answered();
    if (fresh.length > 0) await this.#test(fresh);
  }

  /** Unloaded adapters go at once. */
  drop(adapters: readonly ExpertAdapter[]): void {
    this.#drop(adapters.filter((adapter) => this.#entries.has(adapter)));
  }

  /** The tab's assignment has changed, and is about to be sent: what is of no expert goes, and what has no room any more. */
  fit(): void {
    const { hasExpert, roomBytes } = this.#options;
    const orphans = [...this.#entries].filter(([, { shard }]) => !hasExpert(shard.layer, shard.expert));
    // The tab gives these up by itself.
    for (const [adapter] of orphans) this.#entries.delete(adapter);
    const over: ExpertAdapter[] = [];
    let bytes = this.bytes;
    for (const [adapter, { shard, state }] of this.#entries) {
      if (bytes <= roomBytes()) break;
      if (state === 'waiting' || state === 'refused') continue;
      over.push(adapter);
      bytes -= shard.bytes;
    }
    this.#options.onEvicted(over.length);
    this.#drop(over);
  }

  /** The tab has lost its device, and all of them with it. */
  clear(): void {
    this.#entries.clear();
    this.#answered();
  }

  close(): void {
    this.#isClosed = true;
    this.#entries.clear();
    this.#options.clock.clear(this.#timer);
  }

  #use(adapter: ExpertAdapter, entry: Entry): void {
    entry.usedMs = this.#options.clock.now();
    this.#entries.delete(adapter);
    this.#entries.set(adapter, entry);
  }

  /** Sends the next message, unless one is unanswered. Packing a shard takes a moment, so that others get a turn in between. */
  async #flush(): Promise<void> {
    const { clock, shards, send } = this.#options;
    if (this.#isFlushing || this.#timer !== undefined) return;
    this.#isFlushing = true;
    const add: AdaptersMessage['add'] = [];
    let bytes = 0;
    await new Promise<void>((resolve) => clock.setImmediate(resolve));
    const waiting = [...this.#entries].filter(([, { state }]) => state === 'waiting');
    for (const [adapter, entry] of waiting) {
      // Others may have dropped it meanwhile.
      if (entry.state !== 'waiting' || this.#entries.get(adapter) !== entry) continue;
      if (add.length >= MAX_ADAPTER_SHARDS_PER_MESSAGE || bytes + entry.shard.bytes > MESSAGE_BYTES) {
        if (add.length > 0) break;
      }
      if (!this.#makeRoom(entry)) continue;
      const { number, layer, expert, bytes: size } = entry.shard;
      entry.state = 'asked';
      add.push({ number, layer, expert, bytes: size, sha256: shards.hash(adapter) });
      bytes += size;
      await new Promise<void>((resolve) => clock.setImmediate(resolve));
    }
    this.#isFlushing = false;
    // Some may have gone meanwhile.
    const asked = new Set(
      [...this.#entries.values()].map(({ shard, state }) => (state === 'asked' ? shard.number : 0)),
    );
    const left = add.filter(({ number }) => asked.has(number));
    if (left.length === 0 || this.#isClosed) return;
    this.#timer = clock.setTimeout(() => this.#overdue(), ANSWER_TIMEOUT_MS);
    send({ drop: [], add: left });
  }

  /** Gives up what has not been used lately until there is room for a shard. */
  #makeRoom(entry: Entry): boolean {
    const { clock, roomBytes, hasExpert, onNoRoom, onEvicted } = this.#options;
    const { shard } = entry;
    if (!hasExpert(shard.layer, shard.expert)) return this.#refuse(entry);
    const victims: ExpertAdapter[] = [];
    let missing = this.bytes + shard.bytes - roomBytes();
    for (const [adapter, other] of this.#entries) {
      if (missing <= 0) break;
      if (other.state !== 'live' || clock.now() - other.usedMs < IN_USE_MS) continue;
      victims.push(adapter);
      missing -= other.shard.bytes;
    }
    if (missing > 0 || shard.bytes > MAX_ADAPTER_SHARD_BYTES) {
      onNoRoom(shard);
      return this.#refuse(entry);
    }
    onEvicted(victims.length);
    this.#drop(victims);
    return true;
  }

  #refuse(entry: Entry): false {
    entry.state = 'refused';
    entry.untilMs = this.#options.clock.now() + RETRY_MS;
    return false;
  }

  #drop(adapters: readonly ExpertAdapter[]): void {
    const drop: number[] = [];
    for (const adapter of adapters) {
      const { state, shard } = this.#entries.get(adapter)!;
      if (state !== 'waiting' && state !== 'refused') drop.push(shard.number);
      this.#entries.delete(adapter);
    }
    if (drop.length > 0 && !this.#isClosed) this.#options.send({ drop, add: [] });
  }

  #overdue(): void {
    const asked = [...this.#entries].filter(([, { state }]) => state === 'asked');
    for (const [, entry] of asked) this.#refuse(entry);
    if (asked.length > 0) this.#options.send({ drop: asked.map(([, { shard }]) => shard.number), add: [] });
    this.#answered();
  }

  #answered(): void {
    this.#options.clock.clear(this.#timer);
    this.#timer = undefined;
    if (!this.#isClosed) void this.#flush();
  }

  async #test(fresh: readonly { adapter: ExpertAdapter; entry: Entry }[]): Promise<void> {
    const { test } = this.#options;
    const isRight = await test(fresh.map(({ adapter, entry }) => ({ adapter, ...entry.shard }))).catch(() => false);
    for (const { adapter, entry } of fresh) {
      // Others may have dropped it meanwhile.
      if (this.#entries.get(adapter) !== entry || entry.state !== 'held') continue;
      if (isRight) entry.state = 'live';
      else {
        this.#drop([adapter]);
        this.#refuse(entry);
        this.#entries.set(adapter, entry);
      }
    }
  }
}
