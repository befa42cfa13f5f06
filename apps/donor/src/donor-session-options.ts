import type { ShardCache } from '@shoal/peer';
import type { ContributionDesk } from './contribution/desk.ts';
import type { Device } from './device.ts';
import type { DonorIdentity } from './donor-identity.ts';

export interface DonorSessionOptions {
  createWorker: () => Worker;
  cache: ShardCache;
  claimIdentity: () => Promise<DonorIdentity>;
  /** Where the donor's account is seen to. */
  desk: ContributionDesk;
  tabStorage: Storage;
  browserStorage: Storage;
  initialPledgeBytes: number;
  initialDevice: Device;
  offersTabToTab?: boolean;
}
