/** Which peers hold what, for the device limit; peers are numbers in the caller's stable order. */
export interface DeviceLimit {
  /** Peers that a token may use in a layer (M). */
  maxPeers: number;
  /** Live holders of an expert of the layer. One that nobody holds is computed by the coordinator and takes no peer. */
  holders: (expert: number) => readonly number[];
  /** Experts that the gate's own group limit leaves; all where it has none. */
  allowed?: (expert: number) => boolean;
}

export interface LimitedChoice {
  /** [topK], best first; equal scores: the lower index first. */
  topkIdx: Uint16Array;
  /** Peers kept, best affinity first: at most `maxPeers`, but for more that it took to find topK experts at all. */
  peers: number[];
  /** Whether these are other experts than the gate would have chosen without the limit. */
  changed: boolean;
}

/**
 * Device-limited routing (DeepSeek-V2 paper §2.2.2) of one token in one layer: a peer's affinity is that of the best expert
 * on it; the best `maxPeers` are kept, and the top k chosen among their experts.
 *
 * With replicas, a peer whose best expert is on a kept peer already is not kept for that one: peers are taken in the order
 * of the best expert that is on none yet, and of that expert's holders the one with the best next expert. Without replicas
 * this is the paper's rule.
 *
 * @param scores [nRoutedExperts] what the gate selects by (V3: with the bias); weights are the gate's own business
 */
export function limitDevices(scores: ArrayLike<number>, topK: number, limit: DeviceLimit): LimitedChoice {
  const order = Array.from({ length: scores.length }, (_, e) => e)
    .filter((expert) => limit.allowed?.(expert) ?? true)
    .sort((a, b) => scores[b]! - scores[a]! || a - b);
  const free = order.slice(0, topK);
  const kept = new Set<number>();
  const within = (expert: number): boolean => {
    const holders = limit.holders(expert);
    return holders.length === 0 || holders.some((peer) => kept.has(peer));
  };
  for (const [rank, expert] of order.entries()) {
    if (kept.size >= limit.maxPeers) break;
    if (!within(expert)) kept.add(bestHolder(order, rank, limit));
  }
  let chosen = order.filter(within).slice(0, topK);
  // Too few experts on so few peers: a gate has to choose topK.
  for (const [rank, expert] of order.entries()) {
    if (chosen.length >= Math.min(topK, order.length)) break;
    if (within(expert)) continue;
    kept.add(bestHolder(order, rank, limit));
    chosen = order.filter(within).slice(0, topK);
  }
  return {
    topkIdx: Uint16Array.from(chosen),
    peers: [...kept],
    changed: chosen.some((expert, k) => expert !== free[k]),
  };
}

/** Of the holders of the expert at this rank, the one that holds the best further experts: compared one by one down the order. */
function bestHolder(order: readonly number[], rank: number, { holders }: DeviceLimit): number {
  let left = [...holders(order[rank]!)];
  for (let next = rank + 1; next < order.length && left.length > 1; next++) {
    const also = left.filter((peer) => holders(order[next]!).includes(peer));
    if (also.length > 0) left = also;
  }
  return left[0]!;
}
