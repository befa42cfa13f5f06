import { existsSync } from 'node:fs';
import { isIP } from 'node:net';
import type { Signal } from '@shoal/protocol';
import { acceptPeer, loadRtc, type RtcImplementation } from '@shoal/transport/node';
import { addressKind } from '../../base/networks.ts';
import { failed, type Finding, ok, warning } from './finding.ts';

const CONNECT_TIMEOUT_MS = 10_000;
/** What container engines put into a container. */
const CONTAINER_MARKS = ['/.dockerenv', '/run/.containerenv'];

interface UdpOptions {
  /** Whether there is a server that tells, or relays from, an address that others reach. */
  hasIceServers: boolean;
  announced: readonly string[];
  load?: () => Promise<RtcImplementation>;
  inContainer?: boolean;
}

/** Whether two connections of this process find each other over UDP, and at which addresses tabs are told to. */
export async function checkUdp(options: UdpOptions): Promise<Finding[]> {
  const { load = loadRtc, inContainer = CONTAINER_MARKS.some((path) => existsSync(path)) } = options;
  let rtc: RtcImplementation;
  try {
    rtc = await load();
  } catch (error) {
    return [failed('there is no WebRTC here, so no tab could join', (error as Error).message)];
  }
  try {
    const addresses = await connectToItself(rtc);
    return [addressFinding(addresses, { ...options, inContainer }, rtc.name)];
  } catch (error) {
    return [
      failed(
        `two WebRTC connections of this process do not find each other by UDP (${(error as Error).message})`,
        'Allow UDP between the addresses of this machine: a firewall, a sandbox or a VPN drops it.',
      ),
    ];
  } finally {
    rtc.close();
  }
}

/** Returns the addresses that the tab's end was told. Rejects where none of them leads anywhere. */
async function connectToItself(rtc: RtcImplementation): Promise<string[]> {
  const told = new Set<string>();
  const common = { rtc, iceServers: [], heartbeatMs: 0, connectTimeoutMs: CONNECT_TIMEOUT_MS };
  const coordinator = acceptPeer({
    ...common,
    onSignal: (signal) => {
      for (const address of candidateAddresses(signal)) told.add(address);
      tab.signal(signal);
    },
  });
  const tab = acceptPeer({ ...common, initiator: true, onSignal: (signal) => coordinator.signal(signal) });
  try {
    await Promise.all([coordinator.link, tab.link]);
    return [...told];
  } finally {
    tab.close();
    coordinator.close();
  }
}

/** Candidates come in a description or one by one, as `candidate:1 1 UDP 2122317823 192.0.2.1 50000 typ host`. */
function candidateAddresses(signal: Signal): string[] {
  const lines = JSON.stringify(signal).matchAll(/candidate:\S+ \d+ \S+ \d+ (\S+) \d+ typ/g);
  return [...lines].map(([, address]) => address!);
}

function addressFinding(
  addresses: readonly string[],
  { hasIceServers, announced, inContainer }: UdpOptions,
  name: string,
): Finding {
  const found = `UDP works (${name}); tabs are told ${(announced.length > 0 ? announced : addresses).join(', ') || 'no address'}`;
  if (announced.length > 0 || hasIceServers) return ok(found);
  if (addresses.some((address) => isIP(address) !== 0 && addressKind(address) === 'public')) return ok(found);
  if (inContainer) {
    return warning(
      `${found}, which lead into this container's network alone`,
      "Publish UDP ports and announce the machine's address (docs/OPERATIONS.md), or give a TURN server by --ice-servers.",
    );
  }
  return ok(`${found}, which only this network reaches: donors elsewhere need STUN and TURN servers (--ice-servers)`);
}
