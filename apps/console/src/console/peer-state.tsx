import type { PeerState, PeerView, RestReason } from '@shoal/protocol';
import { formatShare } from '../format.ts';

/** The four states of all of Shoal's pages, each with its own colour and shape. */
export type Tone = 'working' | 'waiting' | 'trouble' | 'away';

const tones: Record<PeerState, Tone> = {
  connecting: 'waiting',
  loading: 'waiting',
  testing: 'waiting',
  waiting: 'waiting',
  working: 'working',
  paused: 'away',
  resting: 'away',
  draining: 'away',
  gone: 'away',
};

export function toneOf(peer: PeerView): Tone {
  return peer.note === undefined ? tones[peer.state] : 'trouble';
}

export function stateWord(peer: PeerView): string {
  if (peer.state === 'loading') return `loading ${formatShare(peer.loadedShare)}`;
  if (peer.state !== 'resting' || peer.rest?.untilMs === undefined) return peer.state;
  return `resting until ${untilText(peer.rest.untilMs)}`;
}

const REST_WORDS: Readonly<Record<RestReason, string>> = {
  schedule: 'outside its donor’s hours',
  'traffic-day': 'its traffic of the day is used up',
  'traffic-month': 'its traffic of the month is used up',
  mains: 'its computer runs on battery',
  battery: 'its battery is low',
  'in-use': 'its computer is in use',
  'other-program': 'another program needs its GPU',
};

/** What its donor's limits do to it now: why it rests, or which share of the time it works. Undefined where they do nothing. */
export function limitWords({ state, rest, share }: PeerView): string | undefined {
  if (state === 'resting' && rest) return REST_WORDS[rest.why];
  return share === undefined ? undefined : `lends ${formatShare(share)} of its time`;
}

/** `22:00`, or with the weekday if that is more than half a day away. */
function untilText(untilMs: number): string {
  const isFar = untilMs - Date.now() > 12 * 3_600_000;
  const options: Intl.DateTimeFormatOptions = { hour: '2-digit', minute: '2-digit', hour12: false };
  return new Date(untilMs).toLocaleString('en', isFar ? { weekday: 'short', ...options } : options);
}

export function ToneIcon({ tone }: { tone: Tone }) {
  return (
    <svg class={`icon tone-${tone}`} viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">
      {tone === 'working' && <circle cx="8" cy="8" r="6.5" fill="currentColor" />}
      {tone === 'waiting' && (
        <>
          <circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" stroke-width="2" />
          <path d="M8 2a6 6 0 0 0 0 12z" fill="currentColor" />
        </>
      )}
      {tone === 'trouble' && (
        <path fill="currentColor" fill-rule="evenodd" d="M8 .8 15.6 15H.4zM7.2 6v5h1.6V6zm0 6.2v1.6h1.6v-1.6z" />
      )}
      {tone === 'away' && (
        <circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" stroke-width="2" stroke-dasharray="2.6 2" />
      )}
    </svg>
  );
}
