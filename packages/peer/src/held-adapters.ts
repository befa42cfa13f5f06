import { adapterRange, type ExpertBackend, type HeldAdapter, type ItemAdapters } from '@shoal/kernels';
import type { Adapted, AdapterShardRef, AdapterShards, DispatchFrame } from '@shoal/protocol';
import { MAX_PARALLEL_DOWNLOADS, type ShardStore } from './shard-store.ts';

/** Below the minute after which the coordinator no longer waits for an answer. */
const FETCH_TIMEOUT_MS = 45_000;

export interface HeldAdaptersOptions {
  holdsExpert: (layer: number, expert: number) => boolean;
  /** What the assigned experts leave of the memory that is lent. */
  roomBytes: () => number;
  onAdapted: (adapted: Adapted) => void;
}

interface Held {
  layer: number;
  expert: number;
  bytes: number;
  adapter: HeldAdapter;
}

/** The low-rank shards of a tab. They live as long as the visit, and only in what its experts leave of the memory that it lends. */
export class HeldAdapters {
  readonly #options: HeldAdaptersOptions;
  /** By number, the most recently used last. */
  readonly #held = new Map<number, Held>();
  /** Being fetched: numbers, of which dropped ones are taken out, and their bytes. */
  readonly #coming = new Map<number, number>();
  #applied: Promise<void> = Promise.resolve();

  constructor(options: HeldAdaptersOptions) {
    this.#options = options;
  }

  /** Of all that are held or being fetched. */
  get bytes(): number {
    return sum([...this.#held.values()].map(({ bytes }) => bytes)) + sum([...this.#coming.values()]);
  }

  /** What a frame's adapters are on the backend; undefined if one is not held, or is of another expert. They count as used now. */
  of({ layer, experts, adapterNumbers }: DispatchFrame): ItemAdapters<HeldAdapter> | undefined {
    if (!adapterNumbers) return undefined;
    const held = adapterNumbers.experts.map((number) => this.#held.get(number));
    for (let a = 0; a < experts.length; a++) {
      const [from, to] = adapterRange(adapterNumbers, a);
      for (let i = from; i < to; i++) {
        const found = held[adapterNumbers.of[i]!];
        if (found?.layer !== layer || found.expert !== experts[a]) return undefined;
      }
    }
    const used: HeldAdapter[] = [];
    for (const number of adapterNumbers.experts) {
      const found = this.#held.get(number);
      // One that no assignment names.
      if (!found) return undefined;
      this.#held.delete(number);
      this.#held.set(number, found);
      used.push(found.adapter);
    }
    return { ...adapterNumbers, experts: used };
  }

  /** Gives up and fetches what the coordinator asks for, one message after the other. Never rejects. */
  apply({ drop, add }: AdapterShards, store: ShardStore, backend: () => ExpertBackend | undefined): Promise<void> {
    for (const number of drop) this.#drop(number);
    if (add.length === 0) return this.#applied;
    this.#applied = this.#applied.then(() => this.#add(add, store, backend));
    return this.#applied;
  }

  /** Experts have come or gone: gives up what is of none, and the least recently used beyond the room that is left. */
  fit(): void {
    const { holdsExpert, onAdapted } = this.#options;
    const orphans = [...this.#held].filter(([, { layer, expert }]) => !holdsExpert(layer, expert));
    for (const [number] of orphans) this.#drop(number);
    // The coordinator knows that those have gone with their experts.
    const gone = this.#makeRoom(0);
    if (gone.length > 0) onAdapted({ held: [], refused: [], gone, bytes: this.bytes });
  }

  /** The visit is over, or the backend is gone. */
  clear(): void {
    for (const number of [...this.#held.keys(), ...this.#coming.keys()]) this.#drop(number);
  }

  async #add(
    refs: readonly AdapterShardRef[],
    store: ShardStore,
    backend: () => ExpertBackend | undefined,
  ): Promise<void> {
    const signal = AbortSignal.timeout(FETCH_TIMEOUT_MS);
    const adapted = { held: [] as number[], refused: [] as number[], gone: [] as number[] };
    const waiting = [...refs];
    const holdNext = async (): Promise<void> => {
      for (let ref = waiting.shift(); ref; ref = waiting.shift()) {
        const { number } = ref;
        const isHeld = await this.#hold(ref, store, backend, signal, adapted.gone).catch(() => false);
        this.#coming.delete(number);
        adapted[isHeld ? 'held' : 'refused'].push(number);
      }
    };
    await Promise.all(Array.from({ length: Math.min(MAX_PARALLEL_DOWNLOADS, refs.length) }, holdNext));
    this.#options.onAdapted({ ...adapted, bytes: this.bytes });
  }

  /** Resolves to whether the shard is held. */
  async #hold(
    { number, layer, expert, sha256, bytes }: AdapterShardRef,
    store: ShardStore,
    backend: () => ExpertBackend | undefined,
    signal: AbortSignal,
    gone: number[],
  ): Promise<boolean> {
    const { holdsExpert, roomBytes } = this.#options;
    if (this.#held.has(number)) return true;
    const target = backend();
    if (!target || !holdsExpert(layer, expert) || bytes > roomBytes()) return false;
    gone.push(...this.#makeRoom(bytes));
    if (this.bytes + bytes > roomBytes()) return false;
    this.#coming.set(number, bytes);
    const shard = await store.downloadOnce(sha256, bytes, signal);
    const isWanted = (): boolean =>
      this.#coming.has(number) && backend() === target && holdsExpert(layer, expert) && this.bytes <= roomBytes();
    if (!isWanted()) return false;
    const adapter = await target.openAdapter(shard);
    if (isWanted()) this.#held.set(number, { layer, expert, bytes, adapter });
    else adapter.free();
    return this.#held.has(number);
  }

  /** Gives up the least recently used until there is room for so many more bytes, and returns their numbers. */
  #makeRoom(bytes: number): number[] {
    const gone: number[] = [];
    for (const number of this.#held.keys()) {
      if (this.bytes + bytes <= this.#options.roomBytes()) break;
      this.#drop(number);
      gone.push(number);
    }
    return gone;
  }

  #drop(number: number): void {
    this.#held.get(number)?.adapter.free();
    this.#held.delete(number);
    this.#coming.delete(number);
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
