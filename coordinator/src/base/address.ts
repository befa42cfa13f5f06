import type { IncomingMessage } from 'node:http';
import { isIP, isIPv6 } from 'node:net';

/** As much of a request as tells where it came from. */
export type AddressedRequest = Pick<IncomingMessage, 'headers'> & { socket: { remoteAddress?: string | undefined } };

/**
 * Who sent a request. Behind a trusted proxy that is the last hop of X-Forwarded-For, the one entry which the proxy wrote
 * itself; all before it are the client's own word. Without a proxy the whole header is, and is not read.
 */
export function clientAddress(request: AddressedRequest, trustProxy: boolean): string {
  const direct = plainAddress(request.socket.remoteAddress ?? '') ?? 'unknown';
  if (!trustProxy) return direct;
  const header = request.headers['x-forwarded-for'];
  const hops = (Array.isArray(header) ? header.join(',') : (header ?? '')).split(',');
  return plainAddress(hops.at(-1)!.trim()) ?? direct;
}

/**
 * What limits count by: an IPv4 address, or the /64 network of an IPv6 address, since whoever has one address of a /64
 * usually has all of them.
 */
export function addressKey(address: string): string {
  if (!isIPv6(address)) return address;
  return `${expandIPv6(address).slice(0, 4).join(':')}::/64`;
}

/** Without brackets, port, zone and the IPv6 form of IPv4; undefined if it is no address. */
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
