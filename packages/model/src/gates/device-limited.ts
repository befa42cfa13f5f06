import { z } from 'zod';
import { type Assignments, type GateKind, gateError } from './gate-kind.ts';
import { checkGroups, groupLimit, groupSettings } from './group-limited.ts';
import { range } from './scores.ts';
import { selectionConfig, selectTopK, uniformAssignments } from './top-k.ts';

/** Holders of experts, for the device limit. Peers are numbers in the caller's stable order. */
export interface DeviceLimit {
  /** Peers that a token may use in a layer (M). */
  maxPeers: number;
  /** Live holders of an expert of the layer. An expert without any is computed by the coordinator and needs no peer. */
  holders: (expert: number) => readonly number[];
  /** Experts that the gate's own group limit allows; all if it has none. */
  allowed?: (expert: number) => boolean;
}

export interface LimitedChoice {
  /** [topK], best first, ties by lower index. */
  topkIdx: Uint16Array;
  /** Peers kept, best affinity first: at most `maxPeers`, unless topK experts need more. */
  peers: number[];
  /** Whether the gate would have chosen other experts without the limit. */
  changed: boolean;
}

/**
 * Device-limited routing (DeepSeek-V2 paper §2.2.2) of one token in one layer: a peer's affinity is that of its best expert; the
 * best `maxPeers` are kept, and the top k are chosen among their experts.
 *
 * With replicas, a peer is not kept for an expert that a kept peer already holds: peers are added by the best expert that none of
 * them holds yet, choosing the holder with the best further experts. Without replicas this is the paper's rule.
 *
 * @param scores [nRoutedExperts] the gate's selection scores (V3: with the bias), not its weights
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
  // The kept peers hold fewer than topK experts, but a gate must choose topK: add peers.
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

/** Returns the holder of the expert at `rank` that also holds the best further experts, compared one by one down the order. */
function bestHolder(order: readonly number[], rank: number, { holders }: DeviceLimit): number {
  let left = [...holders(order[rank]!)];
  for (let next = rank + 1; next < order.length && left.length > 1; next++) {
    const also = left.filter((peer) => holders(order[next]!).includes(peer));
    if (also.length > 0) left = also;
  }
  return left[0]!;
}

const settings = z.strictObject({
  ...groupSettings,
  nGroup: groupSettings.nGroup.default(1),
  topkGroup: groupSettings.topkGroup.default(1),
  maxPeers: z.int().min(1),
});

/** Top k, within groups or not, of the experts on the best `maxPeers` tabs. */
export const deviceLimited: GateKind<z.infer<typeof settings>, Assignments> = {
  title: 'Device-limited',
  source: 'DeepSeek-V2 paper §2.2.2',
  sees: 'row',
  settings,
  open: ({ maxPeers, ...rules }, layer) => {
    checkGroups('device-limited', rules, layer);
    const { holders, bias = null } = layer;
    if (!holders) throw gateError('device-limited', 'holders', holders, 'give it the tabs that hold each expert');
    const config = selectionConfig(rules, layer);
    const allowed = groupLimit(config);
    const held = range(layer.numExperts).map((expert) => holders(expert));
    return ({ logits, numRows }) => {
      const choose = (_row: number, scores: ArrayLike<number>, within: readonly number[]): Uint16Array => {
        const left = new Set(within);
        const limit = { maxPeers, holders: (expert: number) => held[expert]!, allowed: (e: number) => left.has(e) };
        return limitDevices(scores, rules.k, limit).topkIdx;
      };
      return uniformAssignments(selectTopK(config, logits, bias, numRows, { allowed, choose }), numRows);
    };
  },
};
