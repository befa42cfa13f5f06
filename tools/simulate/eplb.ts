/**
 * Options of DeepSeek's expert-parallelism load balancer (deepseek-ai/EPLB, README; DeepSeek-V3 paper §3.4). It is
 * meant for equal devices that are always present, each with its share of every layer.
 */
export interface EplbOptions {
  /** Replicas per layer over all devices; a multiple of `numDevices`, at least the number of experts. */
  numReplicas: number;
  numGroups: number;
  /** The devices of a node are close together. If groups divide evenly over nodes, a group stays on one node. */
  numNodes: number;
  /** A multiple of `numNodes`. */
  numDevices: number;
}

export interface EplbPlan {
  /** By layer: [numReplicas] expert of each slot; the slots of device d start at d × numReplicas / numDevices. */
  expertOfSlot: number[][];
  /** By layer: [numExperts] replicas of each expert. */
  replicas: number[][];
}

/** EPLB is not defined for these options. */
export class EplbError extends Error {
  readonly reason = 'indivisible';
  constructor(message: string) {
    super(message);
    this.name = 'EplbError';
  }
}

/**
 * Places groups on nodes, replicates experts within each node, then places the replicas on its devices. If groups don't
 * divide evenly over nodes, treats all devices as one node and all experts as one group. Throws an EplbError.
 *
 * @param load by layer: [numExperts]
 */
export function rebalanceExperts(load: readonly (readonly number[])[], options: EplbOptions): EplbPlan {
  const hierarchical = options.numGroups % options.numNodes === 0;
  const { numGroups, numNodes } = hierarchical ? options : { numGroups: 1, numNodes: 1 };
  const plans = load.map((layer) => rebalanceLayer(layer, { ...options, numGroups, numNodes }));
  return {
    expertOfSlot: plans.map((plan) => plan.expertOfSlot),
    replicas: plans.map((plan) => plan.replicas),
  };
}

function rebalanceLayer(load: readonly number[], options: EplbOptions): { expertOfSlot: number[]; replicas: number[] } {
  const { numReplicas, numGroups, numNodes, numDevices } = options;
  requireMultiple('experts', load.length, 'groups', numGroups);
  requireMultiple('groups', numGroups, 'nodes', numNodes);
  requireMultiple('devices', numDevices, 'nodes', numNodes);
  requireMultiple('replicas', numReplicas, 'devices', numDevices);
  if (numReplicas < load.length) {
    throw new EplbError(`${numReplicas} replicas are fewer than the ${load.length} experts: raise numReplicas.`);
  }
  const groupSize = load.length / numGroups;
  const groups = Array.from({ length: numGroups }, (_, g) => load.slice(g * groupSize, (g + 1) * groupSize));
  const nodes = packEvenly(
    groups.map((group) => group.reduce((sum, rows) => sum + rows, 0)),
    numNodes,
  );
  const replicas = load.map(() => 1);
  const expertOfSlot = nodes.flatMap((groupsOfNode) => {
    const experts = groupsOfNode.flatMap((g) => Array.from({ length: groupSize }, (_, i) => g * groupSize + i));
    const copies = replicate(load, experts, numReplicas / numNodes, replicas);
    const loads = copies.map((expert) => load[expert]! / replicas[expert]!);
    return packEvenly(loads, numDevices / numNodes).flatMap((slots) => slots.map((slot) => copies[slot]!));
  });
  return { expertOfSlot, replicas };
}

/** Copies each expert once, then repeatedly the one with the highest load per copy; counts copies in `replicas`. */
function replicate(
  load: readonly number[],
  experts: readonly number[],
  numCopies: number,
  replicas: number[],
): number[] {
  const copies = [...experts];
  while (copies.length < numCopies) {
    let hottest = experts[0]!;
    for (const e of experts) if (load[e]! / replicas[e]! > load[hottest]! / replicas[hottest]!) hottest = e;
    replicas[hottest]!++;
    copies.push(hottest);
  }
  return copies;
}

/** Packs items, heaviest first, into the lightest of equal-sized packs; with one item per pack, item i into pack i. */
function packEvenly(weights: readonly number[], numPacks: number): number[][] {
  const size = weights.length / numPacks;
  const packs: number[][] = Array.from({ length: numPacks }, () => []);
  if (size === 1) return packs.map((_, i) => [i]);
  const total = packs.map(() => 0);
  const heaviestFirst = Array.from(weights.keys()).sort((a, b) => weights[b]! - weights[a]! || a - b);
  for (const item of heaviestFirst) {
    let lightest = -1;
    for (let p = 0; p < numPacks; p++) {
      if (packs[p]!.length < size && (lightest === -1 || total[p]! < total[lightest]!)) lightest = p;
    }
    packs[lightest]!.push(item);
    total[lightest]! += weights[item]!;
  }
  return packs;
}

function requireMultiple(of: string, count: number, by: string, divisor: number): void {
  if (count % divisor !== 0) throw new EplbError(`${count} ${of} do not divide over ${divisor} ${by}.`);
}
