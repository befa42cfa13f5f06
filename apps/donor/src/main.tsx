import './csp.ts';
import { CacheStorageShardCache, MemoryShardCache } from '@shoal/peer';
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
import { showInTab } from './tab-sign.ts';
import './theme.css';
import './page.css';
import './views.css';
import './contribution/contribution.css';

takeInvite({ storage: localStorage, location, history });

const deviceMemoryGib = (navigator as { deviceMemory?: number }).deviceMemory;
const openKey = () => openBrowserKey(new URL('.', document.baseURI).href);
const desk = new ContributionDesk({ openKey, ask: askContribution, storage: localStorage });
desk.asked.value = takeLinkRequest({ location, history });
const session = new DonorSession({
  createWorker: () => new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' }),
  cache: 'caches' in window ? new CacheStorageShardCache(caches) : new MemoryShardCache(),
  claimIdentity: async () => {
    const identity = await claimIdentity({
      browserStorage: localStorage,
      tabStorage: sessionStorage,
      locks: navigator.locks as LockManager | undefined,
    });
    return { ...identity, prove: await openKey() };
  },
  desk,
  tabStorage: sessionStorage,
  browserStorage: localStorage,
  initialPledgeBytes: initialPledgeBytes(localStorage, deviceMemoryGib),
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
  if (takeInvite({ storage: localStorage, location, history })) session.useInvite();
  desk.asked.value = takeLinkRequest({ location, history }) ?? desk.asked.value;
});
addEventListener('online', () => session.comeBack());

const [navigation] = performance.getEntriesByType('navigation') as PerformanceNavigationTiming[];
const consent = standingConsent({
  storage: sessionStorage,
  location,
  webdriver: navigator.webdriver,
  navigationType: navigation?.type,
});
if (consent) void session.lend(consent);
