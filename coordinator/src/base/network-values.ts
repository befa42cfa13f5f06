import { isIP } from 'node:net';
import { type IceServer, iceServerSchema } from '@shoal/protocol';
import { z } from 'zod';
import { type PortRange, ports, type ValueKind } from './option-values.ts';
import { UsageError } from './usage-error.ts';

/** None contains a comma. */
export const NAMES: ValueKind<readonly string[]> = {
  value: 'NAME,…',
  parse: (given) => {
    const names = given.split(',').map((name) => name.trim());
    return [...new Set(names)].filter((name) => name !== '');
  },
};

/** A single port stays a number, as most have it. */
export const PORT: ValueKind<number | PortRange> = {
  ...ports(0),
  parse: (given) => {
    const range = ports(0).parse(given);
    return range.first === range.last ? range.first : range;
  },
};

/** As `frame-ancestors` of a content policy takes them (CSP 3). */
const SITE = /^https?:\/\/(\*\.)?[a-z\d]([a-z\d.-]*[a-z\d])?(:\d{1,5})?$/i;

/** Origins of sites with commas between them, `*` for all sites, or `none`. */
export const SITES: ValueKind<string> = {
  value: 'ORIGIN,…|*|none',
  parse: (given) => {
    ancestorsOf(given);
    return given;
  },
};

/** What `frame-ancestors` of a content policy takes for these sites. Throws a UsageError. */
export function ancestorsOf(given: string): string {
  if (given === '*') return '*';
  if (given === 'none') return "'none'";
  const sites = NAMES.parse(given);
  if (sites.length > 0 && sites.every((site) => SITE.test(site))) return sites.join(' ');
  throw new UsageError(`takes origins such as https://blog.example or https://*.example, *, or none, not "${given}"`);
}

/** IP addresses, and names that are resolved at the start. */
export const ADDRESSES: ValueKind<readonly string[]> = {
  value: 'ADDRESS,…',
  parse: (given) => {
    const addresses = NAMES.parse(given);
    const bad = addresses.find((address) => isIP(address) === 0 && !HOST_NAME.test(address));
    if (bad !== undefined) throw new UsageError(`takes IP addresses and host names without ports, not "${bad}"`);
    if (addresses.length > MAX_ANNOUNCED) throw new UsageError(`takes at most ${MAX_ANNOUNCED} addresses`);
    return addresses;
  },
};

const HOST_NAME =
  /^(?=.{1,253}$)(?!\d+(\.\d+)*$)([a-z\d]([a-z\d-]{0,61}[a-z\d])?)(\.[a-z\d]([a-z\d-]{0,61}[a-z\d])?)*\.?$/i;
/** A tab checks each of them with each of its own. */
const MAX_ANNOUNCED = 4;

export const SECRET: ValueKind<string> = {
  value: 'SECRET',
  parse: (given) => {
    if (given.length >= 16) return given;
    throw new UsageError('takes 16 characters or more');
  },
};

/** WebRTC would refuse any other URL only when the first donor joins. */
const ICE_URL = /^(stuns?|turns?):[^\s]+$/;

export const ICE_SERVERS: ValueKind<IceServer[]> = {
  value: 'JSON',
  parse: (given) => {
    let servers: IceServer[];
    try {
      servers = z.array(iceServerSchema).max(8).parse(JSON.parse(given));
    } catch {
      // The text is not quoted: it may hold a TURN server's credential.
      throw new UsageError('takes JSON like [{"urls":"stun:turn.example.org:3478"}]');
    }
    const bad = servers.flatMap(({ urls }) => urls).find((url) => !ICE_URL.test(url));
    if (bad === undefined) return servers;
    throw new UsageError(`takes URLs that begin with stun:, stuns:, turn: or turns:, not "${bad}"`);
  },
};
