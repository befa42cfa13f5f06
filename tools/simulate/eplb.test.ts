import { expect, it } from 'vitest';
import { replicaCounts } from '../../packages/placement/src/replica-counts.ts';
import { rebalanceExperts } from './eplb.ts';

it('replicaCounts gives spare slots to the highest load per replica, as EPLB does on equal devices', () => {
  const load = Float64Array.of(90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86);
  for (const slots of [12, 14, 16, 24, 36]) {
    const eplb = rebalanceExperts([[...load]], { numReplicas: slots, numGroups: 1, numNodes: 1, numDevices: 1 });
    expect([...replicaCounts(load, new Int32Array(12), { slots, replicas: 1, maxReplicas: 12 })]).toEqual(
      eplb.replicas[0],
    );
  }
});
