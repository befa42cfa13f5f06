import { MinHeap } from './heap.ts';

/** When memory is short, an existing replica counts as this much busier, so that two about equally busy experts don't alternate. */
const KEEP_FACTOR = 2;

/** Share of the mean load added to each expert, so that experts without recent load are still ranked. */
const LOAD_PRIOR = 0.05;

/** [numExperts] load with its prior; 1 each if there is no load yet. */
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
 * Distributes `slots` over experts: one each, then up to `replicas`, then up to `maxReplicas`. Within each of these steps the next
 * replica goes to the expert with the highest load per replica, as in EPLB (deepseek-ai/EPLB, `replicate_experts`), ties to the
 * lower index, so that whole layers are served first.
 *
 * @param load [numExperts]
 * @param now [numExperts] existing replicas
 * @returns [numExperts] wanted replicas
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
