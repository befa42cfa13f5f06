import type { WorkItem } from '@shoal/model';
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

/** One row's experts and weights. */
export type UsedRow = Pick<WorkItem, 'layer' | 'experts' | 'weights'>;

/** Counts, for one peer, the uses of each expert since its last audit. */
export class ExpertCoverage {
  readonly #draw: Draw;
  readonly #watches = new Map<number, Watch>();

  constructor(draw: Draw) {
    this.#draw = draw;
  }

  /** Counts a row for its experts. Returns whether one of them is due; it stays due until `audited`. */
  use(row: UsedRow): boolean {
    let due = false;
    for (const expert of shownExperts(row)) {
      const watch = this.#watch(row.layer, expert);
      if (++watch.uses >= watch.due) due = true;
    }
    return due;
  }

  /** Counts the row as an audit of all its experts. */
  audited(row: UsedRow): void {
    for (const expert of shownExperts(row)) {
      const watch = this.#watch(row.layer, expert);
      watch.uses = 0;
      watch.due = MIN_DUE_USES + 1 + this.#draw(MAX_UNAUDITED_USES - MIN_DUE_USES);
    }
  }

  /** The first deadline may be any use, so that a tab which keeps rejoining never has uses that are certain to go unaudited. */
  #watch(layer: number, expert: number): Watch {
    const key = layer * 65_536 + expert;
    const watch = this.#watches.get(key) ?? { uses: 0, due: 1 + this.#draw(MAX_UNAUDITED_USES) };
    this.#watches.set(key, watch);
    return watch;
  }
}

function* shownExperts({ experts, weights }: UsedRow): Iterable<number> {
  let total = 0;
  for (const weight of weights) total += Math.abs(weight);
  for (const [i, expert] of experts.entries()) {
    if (Math.abs(weights[i]!) >= MIN_WEIGHT_SHARE * total) yield expert;
  }
}
