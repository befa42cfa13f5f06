import type { Rng } from '@shoal/model';
import { type Link, type LinkCloseReason, type LinkStats, TransportError } from '@shoal/transport';
import type { VirtualClock } from './virtual-clock.ts';
import { logNormal } from './random.ts';
import { roundTrips } from './wire-bytes.ts';

/** Properties of the line between the coordinator and a tab. */
export interface Line {
  rttMs: number;
  /** σ of ln of a frame's round trip. */
  rttSigma: number;
  downloadBytesPerMs: number;
  uploadBytesPerMs: number;
  /** Share of frames that lose a packet; each costs SCTP's shortest retransmission timeout. */
  lossShare: number;
}

/** Chrome's minimum SCTP retransmission timeout at any RTT. */
export const RETRANSMISSION_MS = 400;

/** Both ends of a line: `near` is the coordinator's. */
export function virtualLinkPair(clock: VirtualClock, line: Line, rng: Rng): { near: VirtualLink; far: VirtualLink } {
  const near = new VirtualLink(clock, line, line.downloadBytesPerMs, rng);
  const far = new VirtualLink(clock, line, line.uploadBytesPerMs, rng);
  near.other = far;
  far.other = near;
  return { near, far };
}

/** One end of a line where frames take virtual time and may overtake each other, as on a lap channel. */
export class VirtualLink implements Link {
  state: 'open' | 'closed' = 'open';
  onFrame: Link['onFrame'];
  onClose: Link['onClose'];
  other!: VirtualLink;
  /** The link is dead without notice: a crash, a sleeping machine, a lost network. */
  vanished = false;
  #framesSent = 0;
  #bytesSent = 0;
  #framesReceived = 0;
  #bytesReceived = 0;
  readonly #clock: VirtualClock;
  readonly #line: Line;
  readonly #bytesPerMs: number;
  readonly #rng: Rng;

  constructor(clock: VirtualClock, line: Line, bytesPerMs: number, rng: Rng) {
    this.#clock = clock;
    this.#line = line;
    this.#bytesPerMs = bytesPerMs;
    this.#rng = rng;
  }

  send(frame: Uint8Array): Promise<void> {
    if (this.state === 'closed') return Promise.reject(new TransportError('closed', 'The link is closed.'));
    this.#framesSent++;
    this.#bytesSent += frame.length;
    // The sender may reuse its buffer at once.
    const copy = frame.slice();
    this.#clock.setTimeout(() => this.other.#receive(copy), this.#travelMs(copy.length));
    return Promise.resolve();
  }

  /** Notifies the other end half a round trip later. */
  close(_reason?: LinkCloseReason): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    if (!this.vanished) this.#clock.setTimeout(() => this.other.end('remote-closed'), this.#line.rttMs / 2);
  }

  end(reason: LinkCloseReason): void {
    if (this.state === 'closed' || (this.vanished && reason === 'remote-closed')) return;
    this.state = 'closed';
    this.onClose?.(reason);
  }

  stats(): LinkStats {
    return {
      bytesSent: this.#bytesSent,
      bytesReceived: this.#bytesReceived,
      framesSent: this.#framesSent,
      framesReceived: this.#framesReceived,
      rttMs: this.#line.rttMs,
      lost: 0,
    };
  }

  #receive(frame: Uint8Array): void {
    if (this.state !== 'open' || this.vanished || this.other.vanished) return;
    this.#framesReceived++;
    this.#bytesReceived += frame.length;
    this.onFrame?.(frame);
  }

  /** One-way. */
  #travelMs(bytes: number): number {
    const { rttMs, rttSigma, lossShare } = this.#line;
    const jittered = rttMs * logNormal(this.#rng, { median: 1, sigma: rttSigma });
    const lost = this.#rng() < lossShare ? RETRANSMISSION_MS : 0;
    return jittered * (roundTrips(bytes) - 0.5) + bytes / this.#bytesPerMs + lost;
  }
}
