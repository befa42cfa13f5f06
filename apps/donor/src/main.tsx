import './csp.ts';
import { coordinatorUrl } from '@shoal/protocol/page';
import { effect } from '@preact/signals';
import { render } from 'preact';
import { App } from './app.tsx';
import { browserSession } from './browser-session.ts';
import { askContribution } from './contribution/ask.ts';
import { openBrowserKey } from './contribution/browser-key.ts';
import { ContributionDesk, takeLinkRequest } from './contribution/desk.ts';
import { isAutomatic, standingConsent } from './consent.ts';
import { DonorSession } from './donor-session.ts';
import { watchInfo } from './info-watch.ts';
import { takeInvite } from './invite.ts';
import { LimitsKeeper } from './limits/limits-keeper.ts';
import { systemLocalTime } from './limits/local-time.ts';
import { BrowserSensors } from './limits/sensors.ts';
import { offersTabToTab } from './offers.ts';
import { tabsOfThisBrowser } from './shared-pledge.ts';
import { showInTab } from './tab-sign.ts';
import './theme.css';
import './page.css';
import './views.css';
import './limits.css';
import './contribution/contribution.css';

const coordinator = coordinatorUrl(document.baseURI);
const ofBrowser = browserSession(coordinator);
const { browserStorage, tabStorage } = ofBrowser;
takeInvite({ storage: browserStorage, location, history });

const openKey = () => openBrowserKey(coordinator);
const limits = new LimitsKeeper({
  storage: browserStorage,
  isKept: !browserStorage.isLost,
  sensors: new BrowserSensors(globalThis),
  local: systemLocalTime,
  unixMs: () => Date.now(),
});
const desk = new ContributionDesk({ openKey, ask: askContribution(coordinator), storage: browserStorage });
desk.asked.value = takeLinkRequest({ location, history });
const session = new DonorSession({
  ...ofBrowser,
  desk,
  // A tab that a program opened lends what its own address says.
  sharingTabs: isAutomatic(location, navigator.webdriver) ? undefined : tabsOfThisBrowser(),
  offersTabToTab: offersTabToTab(document),
  limits,
});

watchInfo(coordinator, (info) => session.inform(info));
// The worker's figures come every second as well, also where the page is hidden and its timers are slow.
setInterval(() => limits.evaluate(), 1_000);
addEventListener('storage', (event) => limits.readStorage(event));

effect(() => showInTab(session.state.value));
render(<App session={session} />, document.getElementById('app')!);

addEventListener('pagehide', () => session.leave());
addEventListener('pageshow', ({ persisted }) => {
  if (persisted) session.comeBack();
});
// A frozen page's connections are cut sooner or later, and it may be discarded without being asked again.
document.addEventListener('freeze', () => session.leave());
document.addEventListener('resume', () => session.comeBack());
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
  wasDiscarded: (document as { wasDiscarded?: boolean }).wasDiscarded === true,
});
if (consent) void session.lend(consent);
