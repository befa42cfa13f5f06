export interface CoverSet {
  /** One bit per element; at most 31. */
  mask: number;
  cost: number;
}

/** Up to this many elements every cover is considered (at most 2^12 states); beyond, a greedy one is improved. */
const MAX_EXACT_ELEMENTS = 12;

/**
 * Returns the fewest sets that cover every element that the sets contain, ties by lowest sum of costs, then by the order given.
 * Exact for up to 12 elements (dynamic programming over what is left uncovered); beyond, greedy (Chvátal 1979), then sets are
 * dropped and merged. The result is in the order in which elements are covered, lowest first.
 */
export function coverMasks<S extends CoverSet>(sets: readonly S[]): S[] {
  const all = sets.reduce((union, { mask }) => union | mask, 0);
  if (all === 0) return [];
  const single = sets.reduce<S | undefined>(
    (best, set) => (set.mask === all && (best === undefined || set.cost < best.cost) ? set : best),
    undefined,
  );
  if (single) return [single];
  return bitCount(all) <= MAX_EXACT_ELEMENTS ? exactCover(sets, all) : greedyCover(sets, all);
}

interface Best<S> {
  count: number;
  cost: number;
  set: S;
}

function exactCover<S extends CoverSet>(sets: readonly S[], all: number): S[] {
  const memo = new Map<number, Best<S>>();
  const solve = (left: number): { count: number; cost: number } => {
    if (left === 0) return { count: 0, cost: 0 };
    const known = memo.get(left);
    if (known) return known;
    // Some set must cover the lowest element: branching on that one alone misses nothing.
    const lowest = left & -left;
    let best: Best<S> | undefined;
    for (const set of sets) {
      if (!(set.mask & lowest)) continue;
      const rest = solve(left & ~set.mask);
      const count = rest.count + 1;
      const cost = rest.cost + set.cost;
      if (best === undefined || count < best.count || (count === best.count && cost < best.cost)) {
        best = { count, cost, set };
      }
    }
    memo.set(left, best!);
    return best!;
  };
  solve(all);
  const cover: S[] = [];
  for (let left = all; left !== 0;) {
    const { set } = memo.get(left)!;
    cover.push(set);
    left &= ~set.mask;
  }
  return cover;
}

function greedyCover<S extends CoverSet>(sets: readonly S[], all: number): S[] {
  const cover: S[] = [];
  for (let left = all; left !== 0;) {
    let best = sets[0]!;
    for (const set of sets) {
      const gain = bitCount(set.mask & left) - bitCount(best.mask & left);
      if (gain > 0 || (gain === 0 && set.cost < best.cost)) best = set;
    }
    cover.push(best);
    left &= ~best.mask;
  }
  return mergePairs(sets, withoutNeedless(cover, all), all);
}

/** Drops sets that later ones have made redundant. */
function withoutNeedless<S extends CoverSet>(cover: readonly S[], all: number): S[] {
  let kept = [...cover];
  for (const set of cover) {
    const others = kept.filter((other) => other !== set);
    if (others.reduce((union, { mask }) => union | mask, 0) === all) kept = others;
  }
  return kept;
}

/** Replaces two sets by one that covers all that only those two covered, as often as possible. */
function mergePairs<S extends CoverSet>(sets: readonly S[], cover: S[], all: number): S[] {
  for (const a of cover) {
    for (const b of cover) {
      if (a === b) continue;
      const others = cover.filter((set) => set !== a && set !== b);
      const needed = all & ~others.reduce((union, { mask }) => union | mask, 0);
      const one = sets.find((set) => (set.mask & needed) === needed);
      if (one) return mergePairs(sets, [...others, one], all);
    }
  }
  return cover;
}

function bitCount(mask: number): number {
  let count = 0;
  for (let left = mask; left !== 0; left &= left - 1) count++;
  return count;
}
