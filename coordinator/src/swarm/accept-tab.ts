import { combineLayouts, MAX_ROWS_PER_LAP, type IceServer, type Signal } from '@shoal/protocol';
import { type AcceptedPeer, acceptPeer, type RtcImplementation } from '@shoal/transport/node';
import { reachableFor } from '../base/networks.ts';
import type { GuestConnector } from './guest-link.ts';

/** This coordinator's end of links to tabs, own ones and those of others. */
export interface TabTerms {
  rtc: RtcImplementation;
  iceServers: IceServer[];
  heartbeatMs: number;
  lapConnections: number;
  hiddenSize: number;
}

export interface TabHooks {
  onSignal: (signal: Signal) => void;
  onFurtherLost?: (number: number, why: string) => void;
}

/** Opens this end of a link to the tab at `address`. Throws if WebRTC itself fails, for example for lack of memory. */
export function acceptTab(terms: TabTerms, address: string, hooks: TabHooks): AcceptedPeer {
  const { rtc, iceServers, heartbeatMs, lapConnections, hiddenSize } = terms;
  return acceptPeer({
    rtc,
    iceServers: withoutRelays(iceServers) as RTCIceServer[],
    heartbeatMs,
    lapConnections,
    onlyAnswers: true,
    allowsTarget: reachableFor(address),
    maxFrameBytes: combineLayouts.f16.headerBytes + MAX_ROWS_PER_LAP * hiddenSize * 2,
    ...hooks,
  });
}

/** How this coordinator connects to tabs of others, on the same terms as to its own. */
export function guestConnector(terms: TabTerms): GuestConnector {
  const { iceServers, lapConnections } = terms;
  return {
    lapConnections,
    iceServersFor: () => iceServers,
    connect: ({ address }, _, onSignal) => acceptTab(terms, address, { onSignal }),
  };
}

/**
 * ICE servers for the coordinator's own end. A tab's relay leads here; one of ours would lead to no tab, as our TURN server relays
 * to this machine alone, and each connection would take a place of it that a tab needs.
 */
function withoutRelays(servers: readonly IceServer[]): IceServer[] {
  return servers.flatMap(({ urls, ...login }) => {
    const left = [urls].flat().filter((url) => !/^turns?:/i.test(url));
    return left.length === 0 ? [] : [{ urls: left, ...login }];
  });
}
