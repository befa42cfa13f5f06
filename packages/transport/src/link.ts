/** A connection between the coordinator and one peer, whatever carries it. Frames arrive whole or not at all. */
export interface Link {
  readonly state: 'open' | 'closed';
  /**
   * Send one frame (unordered with respect to other frames). Resolves when handed to the wire's buffer, so that awaiting
   * it is backpressure; the frame's bytes are then the caller's again. Rejects with a TransportError (`closed`, `too-large`, `queue-full`).
   */
  send(frame: Uint8Array): Promise<void>;
  /** One listener each; set before anything can arrive. Frames are delivered in arrival order, without a copy where possible. */
  onFrame: ((frame: Uint8Array) => void) | undefined;
  onClose: ((reason: LinkCloseReason) => void) | undefined;
  close(reason?: LinkCloseReason): void;
  stats(): LinkStats;
}

export type LinkCloseReason = 'closed' | 'remote-closed' | 'heartbeat' | 'protocol' | 'failed' | 'goodbye';

/** Counted at the channel: message headers and heartbeats included. */
export interface LinkStats {
  bytesSent: number;
  bytesReceived: number;
  framesSent: number;
  framesReceived: number;
  /** Round trip measured by heartbeats, smoothed, in milliseconds; undefined until the first answer. */
  rttMs: number | undefined;
  /** Incomplete messages given up. */
  lost: number;
}
