import type { DonorPhase } from '../donor-state.ts';

/**
 * All that the host's page learns, as the event `shoal-state`. Whether the tab has work at the moment is not among it, nor who the
 * donor is or what they lend.
 */
export const EMBED_STATES = [
  'idle',
  'joining',
  'lending',
  'paused',
  'reconnecting',
  'leaving',
  'ended',
  'problem',
] as const;
export type EmbedState = (typeof EMBED_STATES)[number];

/** From the frame to the element that made it; nothing is sent the other way. */
export type EmbedMessage = { shoal: 'state'; state: EmbedState } | { shoal: 'height'; heightPx: number };

export const STATE_OF_PHASE: Readonly<Record<DonorPhase, EmbedState>> = {
  consent: 'idle',
  checking: 'joining',
  connecting: 'joining',
  downloading: 'joining',
  testing: 'joining',
  waiting: 'lending',
  working: 'lending',
  paused: 'paused',
  resting: 'paused',
  finishing: 'leaving',
  finished: 'ended',
  asleep: 'reconnecting',
  away: 'reconnecting',
  failed: 'problem',
};
