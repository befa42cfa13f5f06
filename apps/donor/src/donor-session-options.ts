import type { ShardCache } from '@shoal/peer';
import type { Device } from './device.ts';
import type { DonorIdentity } from './donor-identity.ts';
import type { LimitsKeeper } from './limits/limits-keeper.ts';

export interface DonorSessionOptions {
  createWorker: () => Worker;
  cache: ShardCache;
  claimIdentity: () => Promise<DonorIdentity>;
  tabStorage: Storage;
  browserStorage: Storage;
  initialPledgeBytes: number;
  initialDevice: Device;
  offersTabToTab?: boolean;
  /** What the donor allows besides memory; without it, everything. */
  limits?: LimitsKeeper;
}
