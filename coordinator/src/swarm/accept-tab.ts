import { combineLayouts, MAX_ROWS_PER_LAP, type Signal } from '@shoal/protocol';
import { type AcceptedPeer, acceptPeer, type RtcImplementation } from '@shoal/transport/node';
import { reachableFor } from '../base/networks.ts';
import type { GuestConnector } from './guest-link.ts';
import type { IceServers } from './ice-servers.ts';

/** How tabs reach this coordinator by UDP. */
export interface TabNetwork {
  rtc: RtcImplementation;
  iceServers: IceServers;
  /** Addresses that tabs are told in place of this machine's own; none: its own. */
  announce: readonly string[];
}

/** This coordinator's end of links to tabs, own ones and those of others. */
export interface LinkTerms {
  network: TabNetwork;
  heartbeatMs: number;
  lapConnections: number;
  hiddenSize: number;
}

export interface TabHooks {
  onSignal: (signal: Signal) => void;
  onFurtherLost?: (number: number, why: string) => void;
}

/** Opens this end of a link to the tab at `address`. Throws if WebRTC itself fails, for example for lack of memory. */
export function acceptTab(terms: LinkTerms, address: string, hooks: TabHooks): AcceptedPeer {
  const { network, heartbeatMs, lapConnections, hiddenSize } = terms;
  return acceptPeer({
    rtc: network.rtc,
    iceServers: network.iceServers.withoutRelays() as RTCIceServer[],
    announce: network.announce,
    heartbeatMs,
    lapConnections,
    onlyAnswers: true,
    allowsTarget: reachableFor(address),
    maxFrameBytes: combineLayouts.f16.headerBytes + MAX_ROWS_PER_LAP * hiddenSize * 2,
    ...hooks,
  });
}

/** How this coordinator connects to tabs of others, on the same terms as to its own. */
export function guestConnector(terms: LinkTerms): GuestConnector {
  const { network, lapConnections } = terms;
  return {
    lapConnections,
    iceServersFor: (donorId) => network.iceServers.forDonor(donorId),
    connect: ({ address }, _, onSignal) => acceptTab(terms, address, { onSignal }),
  };
}
