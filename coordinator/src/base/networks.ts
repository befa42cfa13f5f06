import { BlockList, isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';

/** `special`: link-local (which holds the metadata service of clouds), multicast, reserved, and forms that embed other addresses. */
export type AddressKind = 'public' | 'private' | 'loopback' | 'special';

type Subnet = readonly [network: string, prefix: number];

const LOOPBACK = subnets([['127.0.0.0', 8]], [['::1', 128]]);
/** RFC 1918, RFC 6598 (the inside of carriers' NATs) and RFC 4193. */
const PRIVATE = subnets(
  [
    ['10.0.0.0', 8],
    ['172.16.0.0', 12],
    ['192.168.0.0', 16],
    ['100.64.0.0', 10],
  ],
  [['fc00::', 7]],
);
const SPECIAL = subnets(
  [
    ['0.0.0.0', 8],
    ['169.254.0.0', 16],
    ['192.0.0.0', 24],
    ['192.0.2.0', 24],
    ['192.88.99.0', 24],
    ['198.18.0.0', 15],
    ['198.51.100.0', 24],
    ['203.0.113.0', 24],
    ['224.0.0.0', 3],
  ],
  // Teredo, documentation and 6to4, inside the global unicast addresses.
  [
    ['2001::', 32],
    ['2001:db8::', 32],
    ['2002::', 16],
  ],
);
const GLOBAL_IPV6 = subnets([], [['2000::', 3]]);

/** What kind of network an IPv4 or IPv6 address belongs to (IANA's special-purpose registries). */
export function addressKind(address: string): AddressKind {
  const family = isIPv4(address) ? 'ipv4' : 'ipv6';
  // Node checks `::ffff:10.0.0.1` as 10.0.0.1.
  if (LOOPBACK.check(address, family)) return 'loopback';
  if (PRIVATE.check(address, family)) return 'private';
  if (SPECIAL.check(address, family)) return 'special';
  return family === 'ipv4' || GLOBAL_IPV6.check(address, family) ? 'public' : 'special';
}

/** Addresses of this machine. */
function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address));
}

/**
 * Which addresses a donor at `donorAddress` may have us send packets to: public ones, and those of its own surroundings. Loopback
 * only if it is on this machine, private ones if it is in a private network and this machine is too.
 */
export function reachableFor(
  donorAddress: string,
  own: readonly string[] = ownAddresses(),
): (address: string) => boolean {
  const donor = addressKind(donorAddress);
  const isLocal = donor === 'loopback' || donor === 'private';
  const hasPrivate = own.some((address) => addressKind(address.replace(/%.*$/, '')) === 'private');
  const kinds = new Set<AddressKind>(['public']);
  if (donor === 'loopback') kinds.add('loopback');
  if (isLocal && hasPrivate) kinds.add('private');
  return (address) => kinds.has(addressKind(address));
}

function subnets(ipv4: readonly Subnet[], ipv6: readonly Subnet[]): BlockList {
  const list = new BlockList();
  for (const [network, prefix] of ipv4) list.addSubnet(network, prefix, 'ipv4');
  for (const [network, prefix] of ipv6) list.addSubnet(network, prefix, 'ipv6');
  return list;
}

/** An address that a browser on this machine can open as a secure context, which WebGPU needs. */
export function urlOf(host: string, port: number): string {
  const isEverywhere = host === '0.0.0.0' || host === '::';
  const name = isEverywhere ? 'localhost' : host.includes(':') ? `[${host}]` : host;
  return `http://${name}:${port}`;
}
