import type { Dismissed } from '@shoal/protocol';
import type { Clock } from '../base/clock.ts';
import { PLANNED_ENDS } from './messages.ts';
import type { PeerSession } from './peer-session.ts';
import type { Planning } from './planning.ts';

const CHECK_MS = 50;

export interface DrainOptions {
  clock: Clock;
  /** Longest time that the peer serves while others take over. */
  timeoutMs: number;
  planning: Pick<Planning, 'soon' | 'isReplaced'>;
  /** Ends its visit. */
  dismiss: () => void;
  onEvent: (level: 'info' | 'warning', text: string) => void;
}

/** Dismisses a peer once others serve its experts, or after the timeout. */
export function drain(peer: PeerSession, farewell: Dismissed, options: DrainOptions): void {
  const { clock, timeoutMs, planning, dismiss, onEvent } = options;
  const serves = peer.serving;
  if (!peer.apply('drain')) return;
  peer.target = new Set();
  onEvent(PLANNED_ENDS.has(farewell.code) ? 'info' : 'warning', `${peer.peerId} is being drained`);
  peer.control.standing(peer.standing());
  if (!serves) return dismiss();
  planning.soon(0);
  const startedMs = clock.now();
  const timer = clock.setInterval(() => {
    if (peer.state === 'gone') return clock.clear(timer);
    const late = clock.now() - startedMs > timeoutMs;
    // Once others serve all of its experts it gets no new laps, but may still answer those in flight.
    if (planning.isReplaced(peer)) peer.live.clear();
    if (!late && (peer.live.size > 0 || peer.laps.inFlight > 0)) return;
    clock.clear(timer);
    dismiss();
  }, CHECK_MS);
}
