import { FrameError } from './error.ts';
import { frameLayout } from './layout.ts';

/** Peer → coordinator, instead of a combine. */
export const refuseLayout = frameLayout('refuse', { header: { code: 'u8' }, known: [], formats: 0, arrays: {} });

/**
 * Why a peer refuses a lap. A code never changes its meaning. After any of them the coordinator sends the lap elsewhere and asks
 * the peer last for a while. An honest peer has a reason for `paused`, `busy` and `stale-epoch`, so it takes several of them to
 * end its visit. `device-lost` ends its work until it rejoins.
 */
export const lapRefusals = {
  'unknown-layer': 1,
  'unknown-expert': 2,
  'stale-epoch': 3,
  paused: 4,
  'bad-frame': 5,
  'device-lost': 6,
  busy: 7,
  /** The backend failed. */
  failed: 8,
} as const;
export type LapRefusal = keyof typeof lapRefusals;

const refusalOfCode = new Map(
  Object.entries(lapRefusals).map(([reason, code]) => [code as number, reason as LapRefusal]),
);

export interface RefuseFrame {
  lapId: number;
  reason: LapRefusal;
}

export function encodeRefuse({ lapId, reason }: RefuseFrame): Uint8Array<ArrayBuffer> {
  return refuseLayout.encode({ lapId, code: lapRefusals[reason] });
}

/** Throws a FrameError unless `bytes` is one whole refuse with a known code. */
export function decodeRefuse(bytes: Uint8Array): RefuseFrame {
  const { lapId, code } = refuseLayout.decode(bytes, refuseLayout.decodeHeader(bytes));
  const reason = refusalOfCode.get(code);
  if (reason === undefined) throw new FrameError('bad-code', `refuse.code ${code} is not a known reason.`);
  return { lapId, reason };
}
