/** A peer that could serve some of a lap's experts; `cost` breaks ties (lower is better), e.g. its expected lap time. */
export interface CoverCandidate<P> {
  peer: P;
  /** Whether it holds a live replica of the expert. */
  has: (expert: number) => boolean;
  cost: number;
}

/**
 * Choose peers for a batch in one layer: greedy set cover (Chvátal 1979) over (row, expert) assignments, so that few peers
 * are asked. Returns for each assignment its candidate's index, or −1 where no candidate holds the expert.
 *
 * @param experts [numAssignments]
 */
export function coverAssignments<P>(experts: ArrayLike<number>, candidates: readonly CoverCandidate<P>[]): Int32Array {
  const chosen = new Int32Array(experts.length).fill(-1);
  const weight = new Map<number, number>();
  for (let a = 0; a < experts.length; a++) weight.set(experts[a]!, (weight.get(experts[a]!) ?? 0) + 1);
  const owner = new Map<number, number>();
  const left = new Set(weight.keys());
  const unused = new Set(candidates.keys());
  while (left.size > 0) {
    let best = -1;
    let bestGain = 0;
    for (const i of unused) {
      const candidate = candidates[i]!;
      let gain = 0;
      for (const expert of left) if (candidate.has(expert)) gain += weight.get(expert)!;
      if (gain > bestGain || (gain === bestGain && gain > 0 && candidate.cost < candidates[best]!.cost)) {
        best = i;
        bestGain = gain;
      }
    }
    if (best === -1) break;
    unused.delete(best);
    for (const expert of left) {
      if (!candidates[best]!.has(expert)) continue;
      owner.set(expert, best);
      left.delete(expert);
    }
  }
  for (let a = 0; a < experts.length; a++) chosen[a] = owner.get(experts[a]!) ?? -1;
  return chosen;
}
