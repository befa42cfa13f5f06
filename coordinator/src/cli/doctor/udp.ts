import { existsSync } from 'node:fs';
import { isIP } from 'node:net';
import type { Signal } from '@shoal/protocol';
import { acceptPeer, loadRtc, type RtcImplementation } from '@shoal/transport/node';
import { addressKind } from '../../base/networks.ts';
import type { Network } from '../../open-network.ts';
import { failed, type Finding, ok, warning } from './finding.ts';

const CONNECT_TIMEOUT_MS = 10_000;
/** One connection within a process fails now and then ("remote candidate without ICE transport"), for a cause that we don't know. */
const ATTEMPTS = 3;
/** What container engines put into a container. */
const CONTAINER_MARKS = ['/.dockerenv', '/run/.containerenv'];

interface UdpOptions {
  /** Whether there is a server that tells, or relays from, an address that others reach. */
  hasIceServers: boolean;
  /** As the coordinator opens it, with its UDP port and announced addresses. */
  open: () => Promise<Pick<Network, 'rtc' | 'announce'>>;
  inContainer?: boolean;
}

/** Whether a tab on this machine would find the coordinator over UDP, and at which addresses tabs are told to. */
export async function checkUdp(options: UdpOptions): Promise<Finding[]> {
  const { hasIceServers, inContainer = CONTAINER_MARKS.some((path) => existsSync(path)) } = options;
  let network: Awaited<ReturnType<UdpOptions['open']>>;
  try {
    network = await options.open();
  } catch (error) {
    return [failed('WebRTC cannot be used here, so no tab could join', (error as Error).message)];
  }
  const { rtc, announce } = network;
  try {
    const told = await anyOf(ATTEMPTS, () => connectToTab(rtc));
    const port = rtc.udpPort === undefined ? '' : `, port ${rtc.udpPort}`;
    return [addressFinding(announce.length > 0 ? announce : told, { hasIceServers, inContainer }, rtc.name + port)];
  } catch (error) {
    return [
      failed(
        `a tab in this process does not find the coordinator by UDP (${(error as Error).message})`,
        'Allow UDP between the addresses of this machine: a firewall, a sandbox or a VPN drops it.',
      ),
    ];
  } finally {
    rtc.close();
  }
}

/** The result of the first attempt that succeeds, or the error of the last. */
async function anyOf<T>(attempts: number, attempt: () => Promise<T>): Promise<T> {
  try {
    return await attempt();
  } catch (error) {
    if (attempts === 1) throw error;
    return anyOf(attempts - 1, attempt);
  }
}

/** Returns the addresses that the tab was told. Rejects where none of them leads anywhere. */
async function connectToTab(rtc: RtcImplementation): Promise<string[]> {
  const told = new Set<string>();
  const common = { iceServers: [], heartbeatMs: 0, connectTimeoutMs: CONNECT_TIMEOUT_MS };
  // A tab has sockets of its own, and a browser's WebRTC where that is installed.
  const ofTab = await loadRtc(['wrtc', 'node-datachannel']);
  const coordinator = acceptPeer({
    ...common,
    rtc,
    onSignal: (signal) => {
      for (const address of candidateAddresses(signal)) told.add(address);
      setImmediate(() => tab.signal(asBrowsers(signal)));
    },
  });
  const tab = acceptPeer({
    ...common,
    rtc: ofTab,
    initiator: true,
    onSignal: (signal) => void setImmediate(() => coordinator.signal(signal)),
  });
  try {
    await Promise.all([coordinator.link, tab.link]);
    return [...told];
  } finally {
    tab.close();
    coordinator.close();
    ofTab.close();
  }
}

/** wrtc takes candidates in a browser's form only. */
function asBrowsers(signal: Signal): Signal {
  if (signal.type !== 'candidate') return signal;
  const { candidate, sdpMid } = signal.candidate;
  return { ...signal, candidate: { candidate: candidate.replace(/^a=/, ''), sdpMid, sdpMLineIndex: 0 } };
}

/** Candidates come in a description or one by one, as `candidate:1 1 UDP 2122317823 192.0.2.1 50000 typ host`. */
function candidateAddresses(signal: Signal): string[] {
  const lines = JSON.stringify(signal).matchAll(/candidate:\S+ \d+ \S+ \d+ (\S+) \d+ typ/g);
  return [...lines].map(([, address]) => address!);
}

function addressFinding(
  addresses: readonly string[],
  { hasIceServers, inContainer }: { hasIceServers: boolean; inContainer: boolean },
  how: string,
): Finding {
  const found = `UDP works (${how}); tabs are told ${addresses.join(', ') || 'no address'}`;
  const isReached = addresses.some((address) => isIP(address) !== 0 && addressKind(address) === 'public');
  if (hasIceServers || isReached) return ok(found);
  if (inContainer) {
    return warning(
      `${found}, which lead into this container's network alone`,
      "Publish the UDP port (--udp-ports) and announce the machine's address (--announce), or give a TURN server by --ice-servers.",
    );
  }
  return ok(`${found}, which only this network reaches: donors elsewhere need --announce, or STUN and TURN servers`);
}
