/**
 * Every limit of the protocol, with its reason. Both sides check on sending as well as on receiving, so that a frame that
 * one side may send is never one that the other refuses.
 */

/** Rows of one lap: a prefill chunk of 256 tokens for each of two half-batches. More would hold up decoding rows behind it. */
export const MAX_ROWS_PER_LAP = 512;

/** (row, expert) pairs of one lap: MAX_ROWS_PER_LAP × 32, four times the widest gate in use (top 8). Fits rowEnd's 16 bits. */
export const MAX_ASSIGNMENTS_PER_LAP = 16_384;

/** Above the widest hidden state in use (7,168), with room for twice that. */
export const MAX_HIDDEN_SIZE = 16_384;

/** A full lap of V3 is 512 × 7,168 × 2 B of rows and 0.1 MB of assignments: 7.4 MB. It bounds what one peer can make us hold. */
export const MAX_FRAME_BYTES = 8 * 1024 * 1024;

/**
 * One message on a data channel. 16 KiB is what every WebRTC implementation takes, and SCTP does not interleave messages:
 * a longer one would hold up the small laps behind it.
 */
export const MAX_MESSAGE_BYTES = 16 * 1024;

/**
 * Of a frame that takes several messages, what each of them but the last carries at least: about one packet, below which cutting
 * saves nobody any waiting. It bounds how many pieces a receiver must keep for the bytes that it allows.
 */
export const MIN_FRAGMENT_PAYLOAD_BYTES = 1024;

/** An SDP for data channels alone is about 1 KB; one with many candidates inside stays below 10 KB. */
export const MAX_SDP_CHARS = 64 * 1024;

/** V3 has 14,848 routed experts; no tab holds them all, so a single peer's list is far shorter. */
export const MAX_SHARDS_PER_ASSIGNMENT = 20_000;

/**
 * Shards that a donor may say it has kept. A tab that lends 16 GiB holds about 700 of V3's at 4.5 bits, and its browser keeps
 * twice what is lent; the names of 4,096 take 78 KB.
 */
export const MAX_KEPT_SHARDS = 4096;

/** One socket.io message. An assignment of 20,000 shards takes about 2.1 MB of JSON and is the largest; donors send far less. */
export const MAX_SIGNALLING_TO_DONOR_BYTES = 4 * 1024 * 1024;

/** The largest that a donor has to say is an SDP of at most 64 KiB; JSON's escapes can double it. */
export const MAX_SIGNALLING_FROM_DONOR_BYTES = 160 * 1024;

/**
 * Messages a second from one donor, averaged over SIGNALLING_BURST_MESSAGES. Trickled ICE candidates are the densest honest
 * traffic (tens within a second, once); progress comes at 2 a second.
 */
export const MAX_SIGNALLING_MESSAGES_PER_SECOND = 20;
export const SIGNALLING_BURST_MESSAGES = 120;

/** JSON on the control channel of a connection (goodbye, keep-alive): no honest message comes near it. */
export const MAX_CONTROL_BYTES = 4 * 1024;

/** From the socket's opening to `hello`: a page says it at once. */
export const HELLO_TIMEOUT_MS = 10_000;

/** From the first signal to an open lap channel. ICE gives up after about 30 s; a TURN allocation behind a slow link takes several. */
export const CONNECT_TIMEOUT_MS = 30_000;

/** How often the coordinator pings an idle lap channel. Two unanswered within this are noticed well before SCTP's own minute. */
export const HEARTBEAT_MS = 2_000;

/** Tabs of one donor are numbered below it: more of one browser than its GPU has memory for. */
export const MAX_TABS_PER_DONOR = 16;
