import { MinHeap } from './heap.ts';

/**
 * A replica that exists counts as this many times as busy as it is when memory is short, so that two experts about equally
 * busy do not take turns in being fetched.
 */
const KEEP_FACTOR = 2;

/** No expert counts as idle: the mean load × this is added to each, so that what was not asked lately is still placed in order. */
const LOAD_PRIOR = 0.05;

/** [numExperts] load with its prior; 1 each where there is none yet. */
export function effectiveLoad(numExperts: number, load: ArrayLike<number> | undefined): Float64Array {
  const even = new Float64Array(numExperts).fill(1);
  if (load === undefined) return even;
  let total = 0;
  for (let e = 0; e < numExperts; e++) total += load[e]!;
  if (total <= 0) return even;
  const prior = (LOAD_PRIOR * total) / numExperts;
  return Float64Array.from({ length: numExperts }, (_, e) => load[e]! + prior);
}

/**
 * How many replicas each expert is to have in `slots` places: one each, then up to `replicas`, then up to `maxReplicas`, and
 * within each of these three always one more for the expert with the highest load per replica, as EPLB does
 * (deepseek-ai/EPLB, `replicate_experts`). Equal loads: the lower index, so that whole layers are served first.
 *
 * @param load [numExperts]
 * @param now [numExperts] replicas that exist
 * @returns [numExperts]
 */
export function replicaCounts(
  load: Float64Array,
  now: ArrayLike<number>,
  limits: { slots: number; replicas: number; maxReplicas: number },
): Int32Array {
  const { replicas, maxReplicas } = limits;
  const counts = new Int32Array(load.length);
  let slots = limits.slots;
  for (let replica = 1; replica <= replicas; replica++) {
    if (slots >= load.length) {
      counts.fill(replica);
      slots -= load.length;
      continue;
    }
    const keeps = (e: number): number => (now[e]! >= replica ? KEEP_FACTOR : 1);
    const hottest = Array.from(load.keys()).sort((a, b) => load[b]! * keeps(b) - load[a]! * keeps(a) || a - b);
    for (const expert of hottest.slice(0, slots)) counts[expert]!++;
    return counts;
  }
  if (maxReplicas > replicas) addSpare(counts, load, now, slots, maxReplicas);
  return counts;
}

function addSpare(
  counts: Int32Array,
  load: Float64Array,
  now: ArrayLike<number>,
  slots: number,
  maxReplicas: number,
): void {
  const perReplica = (e: number): number => (load[e]! * (now[e]! > counts[e]! ? KEEP_FACTOR : 1)) / counts[e]!;
  const heap = new MinHeap();
  for (let e = 0; e < load.length; e++) heap.push(e, -perReplica(e));
  for (let left = slots; left > 0; left--) {
    const hottest = heap.pop()?.value;
    if (hottest === undefined) return;
    counts[hottest]!++;
    if (counts[hottest]! < maxReplicas) heap.push(hottest, -perReplica(hottest));
  }
}
