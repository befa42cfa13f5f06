import type { Dismissed } from '@shoal/protocol';
import { JoinRefused } from '../access/join-refused.ts';
import type { PeerSession } from './peer-session.ts';

/** Why an operator sends a tab away, or keeps it out. */
export interface SentAway {
  /** `removed`: at once. `drained`: once others have taken over, and it comes back by itself. */
  code: 'removed' | 'drained';
  /** In the operator's words; may be empty. */
  reason: string;
  /** A date in epoch milliseconds; Infinity where no end is known. */
  untilMs: number;
}

/** Who a tab belongs to. */
export type SentAwayTab = Pick<PeerSession, 'donorId' | 'tokenId' | 'tab' | 'address'>;

/** A drained tab asks again after at most this time, since the drain may have been lifted. */
const ASK_AGAIN_MS = 60_000;
/** Spreads the return of many tabs. */
const SPREAD = 0.5;

/** What the donor is told: by `dismissed`, or where its tab is refused. */
function farewellOf({ code, reason, untilMs }: SentAway): Omit<Dismissed, 'retry'> {
  const leftMs = Math.max(0, untilMs - Date.now());
  const until = Number.isFinite(untilMs) ? { untilMs: Math.round(untilMs) } : {};
  const retryAfterMs = Math.round(Math.min(leftMs + 1_000, ASK_AGAIN_MS) * (1 + SPREAD * Math.random()));
  return {
    code,
    message: textOf({ code, reason, untilMs }),
    ...(reason !== '' && { reason }),
    ...until,
    ...(code === 'drained' && { retryAfterMs }),
  };
}

/** The part of a swarm that it acts on. */
interface Governed {
  readonly peers: readonly PeerSession[];
  drain(peer: PeerSession, farewell: Dismissed): void;
  dismiss(peer: PeerSession, farewell: Dismissed): void;
}

/** Sends away whom an operator keeps out by now. */
export function sendAway(swarm: Governed, sentAway: (tab: SentAwayTab) => SentAway | undefined): void {
  for (const peer of swarm.peers) {
    const why = sentAway(peer);
    if (!why) continue;
    const farewell = { ...farewellOf(why), retry: why.code === 'drained' };
    if (why.code === 'drained') swarm.drain(peer, farewell);
    else swarm.dismiss(peer, farewell);
  }
}

export function refusalOf(why: SentAway): JoinRefused {
  const { message, reason, untilMs, retryAfterMs } = farewellOf(why);
  return new JoinRefused(why.code, message, { reason, untilMs, retryAfterMs });
}

function textOf({ code, reason, untilMs }: SentAway): string {
  const because = reason === '' ? '' : ` The operator says: ${reason}${/[.!?…]$/.test(reason) ? '' : '.'}`;
  const when = Number.isFinite(untilMs) ? `${new Date(untilMs).toISOString().slice(0, 16).replace('T', ' ')} UTC` : '';
  if (code === 'drained') {
    const back = when === '' ? 'when it is wanted again' : `after ${when}`;
    return `The operator lets this tab rest.${because} It comes back by itself ${back}. Thank you.`;
  }
  const end = when === '' ? ' until the operator lets it in again' : ` until ${when}`;
  return `The operator keeps this browser or network out${end}.${because}`;
}
