import type { ShardCache } from '@shoal/peer';
import type { ContributionDesk } from './contribution/desk.ts';
import type { Device } from './device.ts';
import type { DonorIdentity } from './donor-identity.ts';

export interface DonorSessionOptions {
  createWorker: () => Worker;
  cache: ShardCache;
  claimIdentity: () => Promise<DonorIdentity>;
  /** Where a page's donor sees to its account. */
  desk?: ContributionDesk;
  tabStorage: Storage;
  browserStorage: Storage;
  initialPledgeBytes: number;
  initialDevice: Device;
  offersTabToTab?: boolean;
}
