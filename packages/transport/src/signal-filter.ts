import { isIP } from 'node:net';
import { MAX_CANDIDATES, type Signal } from '@shoal/protocol';

/** Attributes of a description of data channels. `candidate` is handled apart; nothing else is passed on. */
const ATTRIBUTES = new Set([
  'group',
  'msid-semantic',
  'extmap-allow-mixed',
  'ice-ufrag',
  'ice-pwd',
  'ice-options',
  'fingerprint',
  'setup',
  'mid',
  'sendrecv',
  'sctp-port',
  'sctpmap',
  'max-message-size',
]);
/** Lines other than attributes (`a=`) and addresses (`c=`). */
const LINES = /^[vostm]=/;
/** candidate:FOUNDATION COMPONENT TRANSPORT PRIORITY ADDRESS PORT typ TYPE, RFC 8839; what may follow is not needed. */
const CANDIDATE =
  /^candidate:([\w+/]{1,32}) ([12]) udp (\d{1,10}) ([\da-f.:]{2,45}|[\da-f-]{36}\.local) (\d{4,5}) typ (host|srflx|prflx|relay)(?: |$)/i;
/** What browsers name instead of an address of their network: 128 random bits, found by multicast in that network alone (mDNS). */
const LOCAL_NAME = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}\.local$/;
/** Servers of the network itself, such as DNS, have lower ports; browsers and NATs use none of them. */
const MIN_PORT = 1024;
const MAX_PORT = 65_535;

/**
 * Removes from the signals of one donor what would make whoever gets them send packets to a third party or resolve a name.
 * Whoever can be reached by us can reach us too, and then needs no candidate: its own packets tell us where it is.
 */
export class SignalFilter {
  readonly #allows: (address: string) => boolean;
  /** Candidates that were passed on, by the connection's number. */
  readonly #candidates = new Map<number, number>();
  readonly #allowsNames: boolean;

  /**
   * `allows` is asked about IPv4 and IPv6 addresses. `allowsNames`: whether what a browser calls itself in its own network is passed
   * on, to one in the same.
   */
  constructor(allows: (address: string) => boolean, { allowsNames = false } = {}) {
    this.#allows = allows;
    this.#allowsNames = allowsNames;
  }

  /** Returns what is left of a signal, undefined if nothing is. */
  pass(signal: Signal): Signal | undefined {
    if (signal.type !== 'candidate') return { ...signal, sdp: this.#description(signal.sdp, signal.connection) };
    const candidate = this.#candidate(signal.candidate.candidate, signal.connection);
    return candidate === undefined ? undefined : { ...signal, candidate: { ...signal.candidate, candidate } };
  }

  #description(sdp: string, connection?: number): string {
    const lines = sdp.split(/[\r\n]+/).flatMap((line) => {
      if (line.startsWith('c=')) return ['c=IN IP4 0.0.0.0'];
      if (!line.startsWith('a=')) return LINES.test(line) ? [line] : [];
      const name = /^a=([\w-]*)/.exec(line)![1]!;
      if (name !== 'candidate') return ATTRIBUTES.has(name) ? [line] : [];
      const candidate = this.#candidate(line.slice('a='.length), connection);
      return candidate === undefined ? [] : [`a=${candidate}`];
    });
    return lines.map((line) => `${line}\r\n`).join('');
  }

  /** The candidate in its shortest form, or undefined if it is not used. */
  #candidate(text: string, connection = 0): string | undefined {
    const before = this.#candidates.get(connection) ?? 0;
    if (before >= MAX_CANDIDATES) return undefined;
    const parts = CANDIDATE.exec(text);
    if (!parts) return undefined;
    const [, foundation, component, priority, address, port, type] = parts;
    if (Number(port) < MIN_PORT || Number(port) > MAX_PORT) return undefined;
    const isName = LOCAL_NAME.test(address!);
    if (isIP(address!) === 0 && !isName) return undefined;
    if (!(isName ? this.#allowsNames : this.#allows(address!))) return undefined;
    this.#candidates.set(connection, before + 1);
    return `candidate:${foundation} ${component} udp ${priority} ${address} ${port} typ ${type}`;
  }
}
