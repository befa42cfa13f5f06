import type { PeerState, PeerView } from '@shoal/protocol';
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
  draining: 'away',
  gone: 'away',
};

export function toneOf(peer: PeerView): Tone {
  return peer.note === undefined ? tones[peer.state] : 'trouble';
}

export function stateWord(peer: PeerView): string {
  return peer.state === 'loading' ? `loading ${formatShare(peer.loadedShare)}` : peer.state;
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
