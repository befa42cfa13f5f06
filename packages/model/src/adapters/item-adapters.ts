import type { ExpertAdapter, HeldAdapter } from './adapter.ts';

/** The scales of what is added to gate, up and down. */
export type AdapterScales = readonly [gate: number, up: number, down: number];

/**
 * What the adapters of an item's rows add to its experts: to each assignment's products, Σ scale · B (A x) over a list of adapters.
 * Nearly always that is one with scales of 1; X-LoRA mixes several, and scales each matrix by itself.
 */
export interface ItemAdapters<Of = ExpertAdapter | HeldAdapter> {
  /** [numAssignments], ascending: one past the last entry of each assignment's list. `adapterRange` reads it. */
  ends: Uint32Array;
  /** [numEntries], indices of `experts`. */
  of: Uint32Array;
  /** [numEntries, 3], as `AdapterScales`. */
  scales: Float32Array;
  /** In frames their numbers, in a tab what its backend holds. */
  experts: readonly Of[];
}

/** The entries [from, to) of assignments [first, end). */
export function adapterRange({ ends }: Pick<ItemAdapters, 'ends'>, first: number, end = first + 1): [number, number] {
  return [first === 0 ? 0 : ends[first - 1]!, end === 0 ? 0 : ends[end - 1]!];
}

/** Whether an adapter adds to an assignment. */
export function isAdapted(adapters: Pick<ItemAdapters, 'ends'> | undefined, assignment: number): boolean {
  if (!adapters) return false;
  const [from, to] = adapterRange(adapters, assignment);
  return to > from;
}

/** Lists of what is added to assignments, made one after the other. */
export class ItemAdaptersBuilder<Of = ExpertAdapter | HeldAdapter> {
  readonly #ends: number[] = [];
  readonly #of: number[] = [];
  readonly #scales: number[] = [];
  readonly #indices = new Map<Of, number>();

  /** Adds to the assignment that `end` will end. */
  add(adapter: Of, scales: AdapterScales = [1, 1, 1]): void {
    let index = this.#indices.get(adapter);
    if (index === undefined) this.#indices.set(adapter, (index = this.#indices.size));
    this.#of.push(index);
    this.#scales.push(...scales);
  }

  /** Adds entries [from, to) of other lists. */
  addAll({ of, scales, experts }: ItemAdapters<Of>, from: number, to: number): void {
    for (let i = from; i < to; i++)
      this.add(experts[of[i]!]!, [scales[3 * i]!, scales[3 * i + 1]!, scales[3 * i + 2]!]);
  }

  /** Ends an assignment's list. */
  end(): void {
    this.#ends.push(this.#of.length);
  }

  /** Undefined if nothing is added to any assignment. */
  build(): ItemAdapters<Of> | undefined {
    if (this.#of.length === 0) return undefined;
    const [ends, of] = [Uint32Array.from(this.#ends), Uint32Array.from(this.#of)];
    return { ends, of, scales: Float32Array.from(this.#scales), experts: [...this.#indices.keys()] };
  }
}

/** What is added to some of the assignments; undefined if nothing is. Of the adapters, those that add something are kept. */
export function pickAdapters(
  adapters: ItemAdapters | undefined,
  assignments: Iterable<number>,
): ItemAdapters | undefined {
  if (!adapters) return undefined;
  const picked = new ItemAdaptersBuilder();
  for (const assignment of assignments) {
    picked.addAll(adapters, ...adapterRange(adapters, assignment));
    picked.end();
  }
  return picked.build();
}

/** A copy that shares no buffer but those of the adapters' matrices, which are shared memory. */
export function copyAdapters({ ends, of, scales, experts }: ItemAdapters): ItemAdapters {
  return { ends: ends.slice(), of: of.slice(), scales: scales.slice(), experts };
}
