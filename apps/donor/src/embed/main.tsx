import '../csp.ts';
import { DONOR_INFO_PATH, type DonorInfo, donorInfoSchema } from '@shoal/protocol';
import { coordinatorUrl, openStorage } from '@shoal/protocol/page';
import { effect, signal } from '@preact/signals';
import { render } from 'preact';
import { openBrowserKey } from '../contribution/browser-key.ts';
import { mayHaveWebGpu } from '../device.ts';
import { claimIdentity } from '../donor-identity.ts';
import { DonorSession } from '../donor-session.ts';
import { initialPledgeBytes } from '../pledge.ts';
import { openShardCache } from '../shard-cache.ts';
import { EmbedView } from './embed-view.tsx';
import { type EmbedMessage, type EmbedState, STATE_OF_PHASE } from './embed-messages.ts';
import '../theme.css';
import './embed.css';

// Alone in a tab, the whole page is of more use.
if (window.parent === window) location.replace('./');

// Browsers keep a frame's data for each site apart, or block it.
const browserStorage = openStorage(() => localStorage);
const tabStorage = openStorage(() => sessionStorage);
const keepsNothing = browserStorage.isLost || tabStorage.isLost;
const deviceMemoryGib = (navigator as { deviceMemory?: number }).deviceMemory;
const coordinator = coordinatorUrl(document.baseURI);
const session = new DonorSession({
  coordinator,
  createWorker: () => new Worker(new URL('../worker.ts', import.meta.url), { type: 'module' }),
  cache: openShardCache(window).cache,
  claimIdentity: async () => {
    // Where data is blocked, locks are refused too.
    const locks = keepsNothing ? undefined : (navigator.locks as LockManager | undefined);
    const identity = await claimIdentity({ browserStorage, tabStorage, locks });
    return { ...identity, prove: await openBrowserKey(coordinator) };
  },
  tabStorage,
  browserStorage,
  keepsNothing,
  initialPledgeBytes: initialPledgeBytes(browserStorage, deviceMemoryGib),
  initialDevice: mayHaveWebGpu() ? 'gpu' : 'cpu',
});
// A reload doesn't lend again: what was agreed to holds for the frame that was seen.
const info = signal<DonorInfo | undefined>(undefined);

/** The site around the frame. Firefox has no `ancestorOrigins`, and is told by the element to send the origin. */
function siteOf(): string {
  const ancestor = location.ancestorOrigins?.[0] ?? document.referrer;
  return URL.canParse(ancestor) ? new URL(ancestor).host : 'another site';
}

function tell(message: EmbedMessage): void {
  // Nothing in it is private, so any site that may frame this may read it.
  window.parent.postMessage(message, '*');
}

let told: EmbedState | undefined;
effect(() => {
  const { phase } = session.state.value;
  document.documentElement.dataset.phase = phase;
  const state = STATE_OF_PHASE[phase];
  if (state !== told) tell({ shoal: 'state', state });
  told = state;
});
const app = document.getElementById('app')!;
render(<EmbedView session={session} info={info} site={siteOf()} host={location.host} />, app);
new ResizeObserver(() => tell({ shoal: 'height', heightPx: app.getBoundingClientRect().height })).observe(app);

addEventListener('pagehide', () => session.leave());
addEventListener('online', () => session.comeBack());

void fetch(`${coordinator}${DONOR_INFO_PATH}`)
  .then(async (response) => (info.value = donorInfoSchema.parse(await response.json())))
  // The box is of use without: it names no model then.
  .catch(() => {});
