import type { IncomingMessage } from 'node:http';

/**
 * A host name, an IPv4 address or a bracketed IPv6 address, and a port: RFC 3986, section 3.2. Or nothing, which a client sends
 * that names no host (RFC 9110, section 7.2).
 */
const HOST = /^$|^(?:\[[\da-f:.]+\]|(?:[\w.~!$&'()*+,;=-]|%[\da-f]{2})+)(?::\d{0,5})?$/i;

/** A request whose Host header is missing, repeated or invalid. */
export class HostHeaderError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'HostHeaderError';
  }
}

/**
 * What RFC 9112, section 3.2, refuses: HTTP/1.1 without a Host header, and any request with two or with an invalid one. Node
 * keeps the first of two, a proxy in front may have used the other.
 */
export function hostFault(request: Pick<IncomingMessage, 'rawHeaders' | 'httpVersion'>): HostHeaderError | undefined {
  const hosts = request.rawHeaders.filter((_, at, raw) => at % 2 === 1 && raw[at - 1]!.toLowerCase() === 'host');
  if (hosts.length === 0) {
    return request.httpVersion === '1.1' ? new HostHeaderError('An HTTP/1.1 request needs a Host header.') : undefined;
  }
  if (hosts.length > 1) return new HostHeaderError('A request may have only one Host header.');
  return HOST.test(hosts[0]!) ? undefined : new HostHeaderError('The Host header is not a valid host.');
}
