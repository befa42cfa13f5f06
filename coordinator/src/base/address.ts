import type { IncomingMessage } from 'node:http';
import { isIP, isIPv6 } from 'node:net';

/** The part of a request that says where it came from. */
export type AddressedRequest = Pick<IncomingMessage, 'headers'> & { socket: { remoteAddress?: string | undefined } };

/**
 * The address that sent a request. Behind a trusted proxy that is the last hop of X-Forwarded-For, the only entry that the
 * proxy wrote. The client may have written the others, and without a proxy all of them, so they are not read.
 */
export function clientAddress(request: AddressedRequest, trustProxy: boolean): string {
  const direct = plainAddress(request.socket.remoteAddress ?? '') ?? 'unknown';
  if (!trustProxy) return direct;
  const header = request.headers['x-forwarded-for'];
  const hops = (Array.isArray(header) ? header.join(',') : (header ?? '')).split(',');
  return plainAddress(hops.at(-1)!.trim()) ?? direct;
}

/**
 * The key that limits count by: an IPv4 address, or the /64 network of an IPv6 address, since a client with one address of a
 * /64 usually has all of them.
 */
export function addressKey(address: string): string {
  if (!isIPv6(address)) return address;
  return `${expandIPv6(address).slice(0, 4).join(':')}::/64`;
}

/** A network that limits count by. */
export interface Network {
  key: string;
  /** How many times an address's share it is given. */
  share: number;
}

/**
 * The networks that an address belongs to, the narrowest first. Providers give a home a /56 or a /48 of IPv6, which are 256 or
 * 65,536 networks of /64: without a limit on these, one home could take as many shares.
 */
export function networksOf(address: string): Network[] {
  if (!isIPv6(address)) return [{ key: address, share: 1 }];
  const [a, b, c, d = '0'] = expandIPv6(address);
  const ofHome = (Number.parseInt(d, 16) >> 8).toString(16);
  return [
    { key: addressKey(address), share: 1 },
    { key: `${a}:${b}:${c}:${ofHome}00::/56`, share: 2 },
    { key: `${a}:${b}:${c}::/48`, share: 4 },
  ];
}

/**
 * The networks of an address, for what keeps donors out: none for loopback, which every donor has behind a reverse proxy on the
 * same machine, nor for an address that is unknown.
 */
export function foreignNetworks(address: string): Network[] {
  const isForeign = isIP(address) !== 0 && address !== '::1' && !/^(::ffff:)?127\./.test(address);
  return isForeign ? networksOf(address) : [];
}

/** Removes brackets, port, zone and the IPv6 form of IPv4. Undefined if the text is not an address. */
function plainAddress(text: string): string | undefined {
  const unbracketed = /^\[(.+)\](?::\d+)?$/.exec(text)?.[1] ?? /^([\d.]+):\d+$/.exec(text)?.[1] ?? text;
  const bare = unbracketed.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '');
  return isIP(bare) === 0 ? undefined : bare;
}

/** The groups of a valid IPv6 address, without leading zeros; those that hold an embedded IPv4 address are left out. */
function expandIPv6(address: string): string[] {
  const [head = '', tail] = address.toLowerCase().split('::');
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'));
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  const embedded = address.includes('.') ? 1 : 0;
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length - embedded;
  const all = [...before, ...Array.from({ length: Math.max(0, zeros) }, () => '0'), ...after];
  return all.map((group) => group.replace(/^0+(?=.)/, ''));
}
