import type { Draw } from './adaptive-replication.ts';

/**
 * No expert of a peer goes unchecked for longer than this many of its uses, whatever the draw of rows does. At 2 % of all
 * rows an expert waits 50 of its uses on average, but one that is asked for rarely can wait long: the tail is cut here.
 */
export const MAX_UNAUDITED_USES = 500;
/**
 * And not before half of it: most experts are audited by then through the draw of rows (all but e⁻⁵ of them at 2 %), so that
 * the cap adds about one audit to 6,000 uses of experts. Drawn between the two, so that nobody can foresee it.
 */
const MIN_DUE_USES = MAX_UNAUDITED_USES / 2;
/** An expert with a smaller part of a row's weight hardly shows in its answer: such a row is neither its use nor its audit. */
export const MIN_WEIGHT_SHARE = 1 / 16;

interface Watch {
  /** Uses since its last audit. */
  uses: number;
  /** The use that is audited at the latest. */
  due: number;
}

/** The row of a lap as audits are drawn: who computed it, by which weights. Both arrays have one entry per expert. */
export interface UsedRow {
  layer: number;
  experts: Uint16Array;
  weights: Float32Array;
}

/** For one peer: how many uses ago each of its experts was last in an audited row, and when it has to be in one. */
export class ExpertCoverage {
  readonly #draw: Draw;
  readonly #watches = new Map<number, Watch>();

  constructor(draw: Draw) {
    this.#draw = draw;
  }

  /** Count a row for its experts; whether one of them is due. It stays due until `audited`. */
  use(row: UsedRow): boolean {
    let due = false;
    for (const expert of shownExperts(row)) {
      const watch = this.#watch(row.layer, expert);
      if (++watch.uses >= watch.due) due = true;
    }
    return due;
  }

  /** The row is audited, for all its experts. */
  audited(row: UsedRow): void {
    for (const expert of shownExperts(row)) {
      const watch = this.#watch(row.layer, expert);
      watch.uses = 0;
      watch.due = MIN_DUE_USES + 1 + this.#draw(MAX_UNAUDITED_USES - MIN_DUE_USES);
    }
  }

  /** The first audit may come at any use: a tab that comes and goes must not begin with uses that are sure to be unchecked. */
  #watch(layer: number, expert: number): Watch {
    const key = layer * 65_536 + expert;
    let watch = this.#watches.get(key);
    if (watch === undefined) {
      watch = { uses: 0, due: 1 + this.#draw(MAX_UNAUDITED_USES) };
      this.#watches.set(key, watch);
    }
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
