import type { Link } from '@shoal/transport';

/**
 * Bytes on lap channels, as the links count them: all that was handed to them and came out of them, with message headers,
 * heartbeats and repeated laps. What SCTP, DTLS, UDP and IP add is not in it.
 */
export interface WireBytes {
  sent: number;
  received: number;
  /** Of both together, what passed while tabs were tested that did not serve yet. */
  tests: number;
}

interface MeteredPeer {
  readonly link: Pick<Link, 'stats'> | undefined;
  /** As WireBytes.tests. */
  readonly testBytes: number;
}

/** Of all links since start, those that are gone included. */
export class WireMeter {
  readonly #gone: WireBytes = { sent: 0, received: 0, tests: 0 };

  /** The peer's link has ended: to be called once. */
  end(peer: MeteredPeer): void {
    add(this.#gone, peer);
  }

  read(present: Iterable<MeteredPeer>): WireBytes {
    const total = { ...this.#gone };
    for (const peer of present) add(total, peer);
    return total;
  }
}

/** Both ways, of one link. */
export function linkBytes(link: Pick<Link, 'stats'> | undefined): number {
  const stats = link?.stats();
  return stats === undefined ? 0 : stats.bytesSent + stats.bytesReceived;
}

function add(total: WireBytes, { link, testBytes }: MeteredPeer): void {
  const stats = link?.stats();
  total.sent += stats?.bytesSent ?? 0;
  total.received += stats?.bytesReceived ?? 0;
  total.tests += testBytes;
}
