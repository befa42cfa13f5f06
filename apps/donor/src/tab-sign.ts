import type { DonorPhase, DonorState } from './donor-state.ts';

export type Sign = 'working' | 'waiting' | 'trouble' | 'away';

/** Maps a phase to one of the four states, each with its own colour and shape. */
export const SIGN_OF_PHASE: Record<DonorPhase, Sign> = {
  consent: 'away',
  checking: 'waiting',
  connecting: 'waiting',
  downloading: 'waiting',
  testing: 'waiting',
  waiting: 'waiting',
  working: 'working',
  paused: 'away',
  resting: 'away',
  finishing: 'waiting',
  finished: 'away',
  asleep: 'away',
  away: 'away',
  failed: 'trouble',
};

export const PHASE_WORD: Record<DonorPhase, string> = {
  consent: 'Not lending',
  checking: 'Checking your device',
  connecting: 'Connecting',
  downloading: 'Downloading',
  testing: 'Self-test',
  waiting: 'Waiting for work',
  working: 'Working',
  paused: 'Paused',
  resting: 'Resting',
  finishing: 'Finishing',
  finished: 'Stopped',
  asleep: 'Asleep',
  away: 'Reconnecting',
  failed: 'Problem',
};

/** The state in a word or two. */
export function stateWord({ phase, problem }: Pick<DonorState, 'phase' | 'problem'>): string {
  return phase === 'away' && problem?.isCalm ? 'Resting' : PHASE_WORD[phase];
}

/** Paths on a 16 × 16 field: a full disc, a ring, a triangle, two bars. */
export const SIGN_PATH: Record<Sign, string> = {
  working: 'M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1z',
  waiting: 'M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zm0 3a4 4 0 1 1 0 8 4 4 0 0 1 0-8z',
  trouble: 'M8 1l7.5 14H.5z',
  away: 'M3 2h4v12H3zM9 2h4v12H9z',
};

// These are legible on light and dark tab strips, which need not match the page.
const ICON_COLOUR: Record<Sign, string> = {
  working: '#27a163',
  waiting: '#c98a00',
  trouble: '#e0533c',
  away: '#7d8a96',
};

let shownSign: Sign | undefined;

/** Shows the state in the tab's title and icon, for a page in the background, and on the root element, for tests. */
export function showInTab(state: DonorState): void {
  const { phase } = state;
  document.documentElement.dataset.phase = phase;
  // No figures: a browser goes on showing the last title of a tab that it has discarded.
  document.title = phase === 'consent' ? 'Shoal: lend your GPU' : `${stateWord(state)} – Shoal`;
  const sign = SIGN_OF_PHASE[phase];
  if (sign === shownSign) return;
  shownSign = sign;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path fill-rule="evenodd" fill="${ICON_COLOUR[sign]}" d="${SIGN_PATH[sign]}"/></svg>`;
  document.querySelector<HTMLLinkElement>('link[rel=icon]')!.href = `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
