interface ChannelListeners {
  open: (event: unknown) => void;
  close: (event: unknown) => void;
  error: (event: unknown) => void;
  bufferedamountlow: (event: unknown) => void;
  message: (event: { data: unknown }) => void;
}

/**
 * The part of RTCDataChannel that links use, so that a browser's channel (in a page or transferred to a worker),
 * node-datachannel's, @roamhq/wrtc's and the one in memory are all the same to them.
 */
export interface DataChannelLike {
  readonly readyState: 'connecting' | 'open' | 'closing' | 'closed';
  /** Bytes given to `send` that have not left yet. */
  readonly bufferedAmount: number;
  /** Absent in @roamhq/wrtc, which then never fires `bufferedamountlow` either. */
  bufferedAmountLowThreshold?: number | undefined;
  binaryType: string;
  /** Copies what it needs before it returns; throws when not open. */
  send(data: Uint8Array<ArrayBuffer>): void;
  close(): void;
  addEventListener<T extends keyof ChannelListeners>(type: T, listener: ChannelListeners[T]): void;
  removeEventListener<T extends keyof ChannelListeners>(type: T, listener: ChannelListeners[T]): void;
}

/**
 * Both sides create the lap channel themselves under this id (`negotiated`): simple-peer takes every channel that the other
 * side announces for its own. Low, because Chrome allows 1,024 streams; not 0 or 1, which in-band channels would get.
 */
export const LAP_CHANNEL_ID = 2;
/** simple-peer's own channel is negotiated as well, so that a stranger who announces channels replaces nothing. */
export const CONTROL_CHANNEL_ID = 3;

export const LAP_CHANNEL_LABEL = 'laps';
/** Unordered: a lost packet then holds up its own frame only. Reliable, since losing a frame costs a lap's deadline. */
export const LAP_CHANNEL_INIT: RTCDataChannelInit = { negotiated: true, id: LAP_CHANNEL_ID, ordered: false };
