import { type CoordinatorUrl, openStorage } from '@shoal/protocol/page';
import { openBrowserKey } from './contribution/browser-key.ts';
import { mayHaveWebGpu } from './device.ts';
import { claimIdentity } from './donor-identity.ts';
import type { DonorSessionOptions } from './donor-session-options.ts';
import { initialPledgeBytes } from './pledge.ts';
import { openShardCache } from './shard-cache.ts';

/** What any page gives its session: the browser's storages, weights, key and worker. */
export function browserSession(coordinator: CoordinatorUrl) {
  const browserStorage = openStorage(() => localStorage);
  const tabStorage = openStorage(() => sessionStorage);
  const deviceMemoryGib = (navigator as { deviceMemory?: number }).deviceMemory;
  return {
    coordinator,
    createWorker: () => new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' }),
    cache: openShardCache(window).cache,
    claimIdentity: async () => {
      const locks = navigator.locks as LockManager | undefined;
      const identity = await claimIdentity({ browserStorage, tabStorage, locks });
      return { ...identity, prove: await openBrowserKey(coordinator) };
    },
    tabStorage,
    browserStorage,
    keepsNothing: tabStorage.isLost || browserStorage.isLost,
    initialPledgeBytes: initialPledgeBytes(browserStorage, deviceMemoryGib),
    initialDevice: mayHaveWebGpu() ? 'gpu' : 'cpu',
  } satisfies DonorSessionOptions;
}
