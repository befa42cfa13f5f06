import { FRAGMENT_HEADER_BYTES, fragmentCount, MESSAGE_HEADER_BYTES } from './fragment.ts';

/**
 * What one SCTP packet takes of a message, in bytes: 1,156 of usrsctp's (libdatachannel), 1,160 of dcSCTP's (Chrome), some of it
 * left for paths that take less.
 */
const PACKET_BYTES = 1150;
/**
 * Chrome sends four packets of a message at once and the rest when these are acknowledged: a round trip more. What fits is sent
 * whole.
 */
const BURST_PACKETS = 4;
/**
 * A fragment is two packets. Chrome's burst begins anew with every message, so that small ones leave in one. And Chrome
 * acknowledges every second packet at once, an odd one 0.2 s later: by then usrsctp takes it for lost and sends one packet a round
 * trip (docs/adr/0017).
 */
const FRAGMENT_PACKETS = 2;
/** Of larger frames: most of the time goes by elsewhere, and a message costs either side some microseconds. */
const LARGE_FRAGMENT_PACKETS = 14;
const LARGE_FRAME_BYTES = 256 * 1024;

export const MAX_BURST_FRAME_BYTES = BURST_PACKETS * PACKET_BYTES - MESSAGE_HEADER_BYTES;

/** How a frame of that size is cut into messages. */
export interface Cut {
  /** One is a whole frame. */
  count: number;
  /** Of each fragment but the last, and nearly of the last. */
  payloadBytes: number;
}

export function cutOf(frameBytes: number): Cut {
  if (frameBytes <= MAX_BURST_FRAME_BYTES) return { count: 1, payloadBytes: frameBytes };
  const packets = frameBytes > LARGE_FRAME_BYTES ? LARGE_FRAGMENT_PACKETS : FRAGMENT_PACKETS;
  const count = fragmentCount(frameBytes, packets * PACKET_BYTES - FRAGMENT_HEADER_BYTES);
  // About equal, so that the last is of as many packets as the others.
  const payloadBytes = Math.ceil(frameBytes / count);
  return { count: fragmentCount(frameBytes, payloadBytes), payloadBytes };
}
