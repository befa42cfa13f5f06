import { FRAGMENT_HEADER_BYTES, fragmentCount, MESSAGE_HEADER_BYTES } from './fragment.ts';

/**
 * Message bytes per SCTP packet: 1,156 with usrsctp (libdatachannel), 1,160 with dcSCTP (Chrome), less some slack for paths with
 * a smaller MTU.
 */
const PACKET_BYTES = 1150;
/** Chrome sends four packets of a message at once and the rest a round trip later, so a frame that fits in four is sent whole. */
const BURST_PACKETS = 4;
/**
 * A fragment is two packets. Chrome starts a new burst with every message, so small ones leave at once. Chrome also acknowledges
 * every second packet at once but an odd one only after 0.2 s, by which time usrsctp considers it lost and falls back to one
 * packet per round trip (docs/adr/0017).
 */
const FRAGMENT_PACKETS = 2;
/** For larger frames, where most of the time is spent elsewhere and each message costs both sides some microseconds. */
const LARGE_FRAGMENT_PACKETS = 14;
const LARGE_FRAME_BYTES = 256 * 1024;

export const MAX_BURST_FRAME_BYTES = BURST_PACKETS * PACKET_BYTES - MESSAGE_HEADER_BYTES;

/** How a frame is cut into messages. */
export interface Cut {
  /** Number of messages; 1 is a whole frame. */
  count: number;
  /** Payload of each fragment but the last, which is nearly as long. */
  payloadBytes: number;
}

export function cutOf(frameBytes: number): Cut {
  if (frameBytes <= MAX_BURST_FRAME_BYTES) return { count: 1, payloadBytes: frameBytes };
  const packets = frameBytes > LARGE_FRAME_BYTES ? LARGE_FRAGMENT_PACKETS : FRAGMENT_PACKETS;
  const count = fragmentCount(frameBytes, packets * PACKET_BYTES - FRAGMENT_HEADER_BYTES);
  // About equal, so that the last fragment takes as many packets as the others.
  const payloadBytes = Math.ceil(frameBytes / count);
  return { count: fragmentCount(frameBytes, payloadBytes), payloadBytes };
}
