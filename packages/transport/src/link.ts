/** A connection between the coordinator and one peer over any transport. Frames arrive whole or not at all. */
export interface Link {
  readonly state: 'open' | 'closed';
  /**
   * Sends one frame, unordered with respect to other frames. Resolves when it is in the wire's buffer: awaiting it is
   * backpressure, and the caller may reuse the bytes afterwards. Rejects with a TransportError (`closed`, `too-large`, `queue-full`).
   */
  send(frame: Uint8Array): Promise<void>;
  /** One listener, set before anything can arrive. Frames come in order of arrival, without a copy where possible. */
  onFrame: ((frame: Uint8Array) => void) | undefined;
  onClose: ((reason: LinkCloseReason) => void) | undefined;
  close(reason?: LinkCloseReason): void;
  stats(): LinkStats;
}

export type LinkCloseReason = 'closed' | 'remote-closed' | 'heartbeat' | 'protocol' | 'failed' | 'goodbye';

/** Counted at the channel, including message headers and heartbeats. */
export interface LinkStats {
  bytesSent: number;
  bytesReceived: number;
  framesSent: number;
  framesReceived: number;
  /** Smoothed round-trip time of heartbeats, in milliseconds; undefined until the first answer. */
  rttMs: number | undefined;
  /** Incomplete frames given up. */
  lost: number;
}
