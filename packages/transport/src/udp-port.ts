import { createSocket, type SocketType } from 'node:dgram';
import { once } from 'node:events';
import { TransportError } from './errors.ts';

export interface PortRange {
  first: number;
  last: number;
}

/**
 * Returns a UDP port of the range that nothing uses; any of them, so that coordinators that start at the same moment try different
 * ones. Throws a TransportError (`unavailable`) if all are taken.
 */
export async function freeUdpPort(range: PortRange): Promise<number> {
  const count = range.last - range.first + 1;
  const offset = Math.floor(Math.random() * count);
  let why = '';
  for (let n = 0; n < count; n++) {
    const port = range.first + ((offset + n) % count);
    const problem = await problemOf(port);
    if (problem === undefined) return port;
    why = problem;
  }
  const isOne = range.first === range.last;
  const what = isOne
    ? `UDP port ${range.first} can't be used`
    : `No UDP port of ${range.first}-${range.last} can be used`;
  const remedy =
    why === 'EACCES'
      ? 'Ports below 1024 need more rights: choose a higher one with --udp-ports.'
      : 'Another program uses it, or another coordinator: name more ports with --udp-ports FIRST-LAST, one for each coordinator on this machine.';
  throw new TransportError('unavailable', `${what} (${why}). ${remedy}`);
}

/** The code of the error with which a port can't be bound on all addresses, as libdatachannel binds it: IPv6 and IPv4 at once. */
async function problemOf(port: number): Promise<string | undefined> {
  const problem = await bindProblem('udp6', port);
  return problem === 'EAFNOSUPPORT' || problem === 'EADDRNOTAVAIL' ? bindProblem('udp4', port) : problem;
}

async function bindProblem(type: SocketType, port: number): Promise<string | undefined> {
  const socket = createSocket(type);
  try {
    const bound = once(socket, 'listening');
    socket.bind(port);
    await bound;
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  } finally {
    const closed = once(socket, 'close');
    socket.close();
    await closed;
  }
}
