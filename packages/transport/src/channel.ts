interface ChannelListeners {
  open: (event: unknown) => void;
  close: (event: unknown) => void;
  error: (event: unknown) => void;
  bufferedamountlow: (event: unknown) => void;
  message: (event: { data: unknown }) => void;
}

/**
 * The part of RTCDataChannel that links use. It is implemented by a browser's channel (in a page or transferred to a worker),
 * by node-datachannel, by @roamhq/wrtc and by the in-memory channel.
 */
export interface DataChannelLike {
  readonly readyState: 'connecting' | 'open' | 'closing' | 'closed';
  /** Bytes passed to `send` that have not been sent yet. */
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
 * Both sides create the lap channel under this id (`negotiated`), since simple-peer mistakes every announced channel for its
 * own. Low, because Chrome allows 1,024 streams; not 0 or 1, which in-band channels would get.
 */
export const LAP_CHANNEL_ID = 2;
/** simple-peer's own channel is negotiated as well, so that an announced channel cannot replace it. */
export const CONTROL_CHANNEL_ID = 3;

export const LAP_CHANNEL_LABEL = 'laps';
/** Unordered, so that a lost packet holds up only its own frame. Reliable, since a lost frame costs a lap's deadline. */
export const LAP_CHANNEL_INIT: RTCDataChannelInit = { negotiated: true, id: LAP_CHANNEL_ID, ordered: false };
