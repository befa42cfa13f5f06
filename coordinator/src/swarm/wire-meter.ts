import type { Link } from '@shoal/transport';

/** Bytes on lap channels, including message headers, heartbeats and repeated laps, without SCTP, DTLS, UDP and IP. */
export interface WireBytes {
  sent: number;
  received: number;
  /** The part of both that passed while tabs were tested before they served. */
  tests: number;
}

interface MeteredPeer {
  readonly link: Pick<Link, 'stats'> | undefined;
  readonly testBytes: number;
}

/** Sums the bytes of all links since startup, including links that have ended. */
export class WireMeter {
  readonly #gone: WireBytes = { sent: 0, received: 0, tests: 0 };

  /** Keeps the bytes of a link that has ended. Called once per peer. */
  end(peer: MeteredPeer): void {
    add(this.#gone, peer);
  }

  read(present: Iterable<MeteredPeer>): WireBytes {
    const total = { ...this.#gone };
    for (const peer of present) add(total, peer);
    return total;
  }
}

/** Bytes of one link in both directions. */
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
