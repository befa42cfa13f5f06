import { adapterRange, type WorkItem } from '@shoal/model';
import type { Draw } from './audit-share.ts';

/**
 * An expert of a peer is audited after this many uses at the latest, whatever rows are drawn. At 2 % of all rows an expert
 * waits for 50 uses on average; this bounds the tail.
 */
export const MAX_UNAUDITED_USES = 500;
/**
 * The deadline is drawn between this and MAX_UNAUDITED_USES, so that peers cannot predict it. By half of the maximum all but
 * e⁻⁵ of the experts were in a drawn row (at 2 %), so that the deadline adds about one audit to 6,000 uses.
 */
const MIN_DUE_USES = MAX_UNAUDITED_USES / 2;
/** A row with a smaller share of weight for an expert counts as neither its use nor its audit: it hardly shows in the answer. */
const MIN_WEIGHT_SHARE = 1 / 16;

interface Watch {
  /** Uses since its last audit. */
  uses: number;
  /** The use that has to be audited. */
  due: number;
}

/** One row's experts and weights, and what adapters add to them. */
export type UsedRow = Pick<WorkItem, 'layer' | 'experts' | 'weights' | 'adapters'>;

/** Counts, for one peer, the uses of each expert, and of what each adapter adds to one, since the last audit. */
export class ExpertCoverage {
  readonly #draw: Draw;
  readonly #watches = new Map<number, Watch>();
  /** By what an adapter adds to an expert, as long as that is loaded. */
  readonly #ofAdapters = new WeakMap<object, Watch>();

  constructor(draw: Draw) {
    this.#draw = draw;
  }

  /** Counts a row for its experts and their adapters. Returns whether one of them is due; it stays due until `audited`. */
  use(row: UsedRow): boolean {
    let due = false;
    for (const watch of this.#shown(row)) {
      if (++watch.uses >= watch.due) due = true;
    }
    return due;
  }

  /** Counts the row as an audit of all its experts. */
  audited(row: UsedRow): void {
    for (const watch of this.#shown(row)) {
      watch.uses = 0;
      watch.due = MIN_DUE_USES + 1 + this.#draw(MAX_UNAUDITED_USES - MIN_DUE_USES);
    }
  }

  /** Of the row's experts, and of what adapters add to them. */
  *#shown(row: UsedRow): Iterable<Watch> {
    const { layer, experts, weights, adapters } = row;
    let total = 0;
    for (const weight of weights) total += Math.abs(weight);
    for (const [i, expert] of experts.entries()) {
      if (Math.abs(weights[i]!) < MIN_WEIGHT_SHARE * total) continue;
      yield this.#watch(this.#watches, layer * 65_536 + expert);
      if (!adapters) continue;
      const [from, to] = adapterRange(adapters, i);
      for (const of of adapters.of.subarray(from, to)) yield this.#watch(this.#ofAdapters, adapters.experts[of]!);
    }
  }

  /** The first deadline may be any use, so that a tab which keeps rejoining never has uses that are certain to go unaudited. */
  #watch<Key>(watches: { get(key: Key): Watch | undefined; set(key: Key, watch: Watch): unknown }, key: Key): Watch {
    const watch = watches.get(key) ?? { uses: 0, due: 1 + this.#draw(MAX_UNAUDITED_USES) };
    watches.set(key, watch);
    return watch;
  }
}
