import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { loadRtc, type RtcImplementation } from '@shoal/transport/node';
import { UsageError } from './base/usage-error.ts';
import type { Config } from './config.ts';
import { IceServers } from './swarm/ice-servers.ts';

/** How tabs reach this coordinator by UDP. */
export interface Network {
  rtc: RtcImplementation;
  iceServers: IceServers;
  /** IP addresses that tabs are told in place of this machine's own; none: its own. */
  announce: readonly string[];
}

type NetworkConfig = Pick<Config, 'iceServers' | 'turnSecret' | 'udpPorts' | 'announce'>;

/** Throws a UsageError or a TransportError that says what to change. */
export async function openNetwork(config: NetworkConfig): Promise<Network> {
  const iceServers = new IceServers(config.iceServers, config.turnSecret);
  const announce = (await Promise.all(config.announce.map(addressesOf))).flat();
  return { rtc: await loadRtc(undefined, { udpPorts: config.udpPorts }), iceServers, announce: [...new Set(announce)] };
}

async function addressesOf(name: string): Promise<string[]> {
  if (isIP(name) !== 0) return [name];
  try {
    return (await lookup(name, { all: true })).map(({ address }) => address);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new UsageError(`--announce: the name ${name} has no address (${code}); name an IP address, or mend its DNS`);
  }
}
