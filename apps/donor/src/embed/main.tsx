import '../csp.ts';
import { DONOR_INFO_PATH, type DonorInfo, donorInfoSchema } from '@shoal/protocol';
import { coordinatorUrl } from '@shoal/protocol/page';
import { effect, signal } from '@preact/signals';
import { render } from 'preact';
import { browserSession } from '../browser-session.ts';
import { DonorSession } from '../donor-session.ts';
import { EmbedView } from './embed-view.tsx';
import { type EmbedMessage, type EmbedState, STATE_OF_PHASE } from './embed-messages.ts';
import '../theme.css';
import './embed.css';

// Alone in a tab, the whole page is of more use.
if (window.parent === window) location.replace('./');

const coordinator = coordinatorUrl(document.baseURI);
// Browsers keep a frame's data for each site apart, or block it.
const session = new DonorSession(browserSession(coordinator));
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
