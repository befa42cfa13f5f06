import type { ShardCache } from '@shoal/peer';
import type { CoordinatorUrl, PageTexts } from '@shoal/protocol/page';
import type { ContributionDesk } from './contribution/desk.ts';
import type { Device } from './device.ts';
import type { SharingTabs } from './shared-pledge.ts';
import type { DonorIdentity } from './donor-identity.ts';
import type { LimitsKeeper } from './limits/limits-keeper.ts';

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
  /** Those that share the pledge with this one; without them, it has all of it. */
  sharingTabs?: SharingTabs | undefined;
  initialPledgeBytes: number;
  initialDevice: Device;
  offersTabToTab?: boolean;
  /** What the donor allows besides memory; without it, everything. */
  limits?: LimitsKeeper;
}
