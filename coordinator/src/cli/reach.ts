import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { addressKind, urlOf } from '../base/networks.ts';

export interface Reachable {
  /** e.g. `http://192.168.1.5:8787` */
  url: string;
  /** The network interface whose address it is; undefined where the option names the address. */
  through?: string;
  /** Whether only programs on this machine use the interface, as containers do. */
  isVirtual: boolean;
}

const VIRTUAL = /^(docker|br-|veth|virbr|vmnet|vboxnet|vEthernet|cni|flannel|lxc|podman)/;

/**
 * The addresses under which other machines find what listens on `host`, those of virtual networks last. Link-local IPv6 addresses
 * are left out, since browsers can't open them.
 */
export function reachableUrls(
  host: string,
  port: number,
  interfaces: NodeJS.Dict<NetworkInterfaceInfo[]> = networkInterfaces(),
): Reachable[] {
  const isEverywhere = host === '::';
  if (host !== '0.0.0.0' && !isEverywhere) return isOwn(host) ? [] : [{ url: urlOf(host, port), isVirtual: false }];
  const all = Object.entries(interfaces).flatMap(([through, infos]) =>
    (infos ?? [])
      .filter(({ internal, family, scopeid }) => !internal && (family === 'IPv4' || (isEverywhere && !scopeid)))
      .map(({ address }) => ({ url: urlOf(address, port), through, isVirtual: VIRTUAL.test(through) })),
  );
  return [...all.filter(({ isVirtual }) => !isVirtual), ...all.filter(({ isVirtual }) => isVirtual)];
}

function isOwn(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost') || addressKind(host) === 'loopback';
}
