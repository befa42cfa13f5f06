import type { ShardCache } from '@shoal/peer';
import type { CoordinatorUrl, PageTexts } from '@shoal/protocol/page';
import type { ContributionDesk } from './contribution/desk.ts';
import type { Device } from './device.ts';
import type { DonorIdentity } from './donor-identity.ts';

export interface DonorSessionOptions {
  coordinator: CoordinatorUrl;
  createWorker: () => Worker;
  cache: ShardCache;
  claimIdentity: () => Promise<DonorIdentity>;
  /** Where a page's donor sees to its account. */
  desk?: ContributionDesk;
  tabStorage: PageTexts;
  browserStorage: PageTexts;
  /** Whether the browser blocks the page's data, so that nothing outlives it. */
  keepsNothing?: boolean;
  initialPledgeBytes: number;
  initialDevice: Device;
  offersTabToTab?: boolean;
}
