export type { Elsewhere, ExpertIndex, PlacementModel, PlacementPeer, PlacementPlan, PlacementResult } from './types.ts';
export { coverRows } from './cover.ts';
export { capacityInExperts, peerCapacity, PLEDGE_FILL, pledgeFor } from './ledger.ts';
export { LoadMeter } from './load.ts';
export { MoveAllowance } from './move-allowance.ts';
export { planPlacement } from './placement.ts';
