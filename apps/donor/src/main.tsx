import './csp.ts';
import { coordinatorUrl, openStorage } from '@shoal/protocol/page';
import { effect } from '@preact/signals';
import { render } from 'preact';
import { App } from './app.tsx';
import { askContribution } from './contribution/ask.ts';
import { openBrowserKey } from './contribution/browser-key.ts';
import { ContributionDesk, takeLinkRequest } from './contribution/desk.ts';
import { standingConsent } from './consent.ts';
import { DonorSession } from './donor-session.ts';
import { mayHaveWebGpu } from './device.ts';
import { claimIdentity } from './donor-identity.ts';
import { takeInvite } from './invite.ts';
import { offersTabToTab } from './offers.ts';
import { initialPledgeBytes } from './pledge.ts';
import { openShardCache } from './shard-cache.ts';
import { showInTab } from './tab-sign.ts';
import './theme.css';
import './page.css';
import './views.css';
import './contribution/contribution.css';

const browserStorage = openStorage(() => localStorage);
const tabStorage = openStorage(() => sessionStorage);
takeInvite({ storage: browserStorage, location, history });

const deviceMemoryGib = (navigator as { deviceMemory?: number }).deviceMemory;
const coordinator = coordinatorUrl(document.baseURI);
const openKey = () => openBrowserKey(coordinator);
const desk = new ContributionDesk({ openKey, ask: askContribution(coordinator), storage: browserStorage });
desk.asked.value = takeLinkRequest({ location, history });
const session = new DonorSession({
  coordinator,
  createWorker: () => new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' }),
  cache: openShardCache(window).cache,
  claimIdentity: async () => {
    const locks = navigator.locks as LockManager | undefined;
    const identity = await claimIdentity({ browserStorage, tabStorage, locks });
    return { ...identity, prove: await openKey() };
  },
  desk,
  tabStorage,
  browserStorage,
  keepsNothing: tabStorage.isLost || browserStorage.isLost,
  initialPledgeBytes: initialPledgeBytes(browserStorage, deviceMemoryGib),
  initialDevice: mayHaveWebGpu() ? 'gpu' : 'cpu',
  offersTabToTab: offersTabToTab(document),
});

effect(() => showInTab(session.state.value));
render(<App session={session} />, document.getElementById('app')!);

addEventListener('pagehide', () => session.leave());
addEventListener('pageshow', ({ persisted }) => {
  if (persisted) session.comeBack();
});
// Opening an invitation link over the page only changes the fragment.
addEventListener('hashchange', () => {
  if (takeInvite({ storage: browserStorage, location, history })) session.useInvite();
  desk.asked.value = takeLinkRequest({ location, history }) ?? desk.asked.value;
});
addEventListener('online', () => session.comeBack());

const [navigation] = performance.getEntriesByType('navigation') as PerformanceNavigationTiming[];
const consent = standingConsent({
  storage: tabStorage,
  location,
  webdriver: navigator.webdriver,
  navigationType: navigation?.type,
});
if (consent) void session.lend(consent);
