/** Every limit of the protocol, with its reason. Both sides check when sending and when receiving. */

/** Rows of one lap: a prefill chunk of 256 tokens for each of two micro-batches. More would hold up the decoding rows behind it. */
export const MAX_ROWS_PER_LAP = 512;

/** Assignments of one lap: MAX_ROWS_PER_LAP × 32, four times the widest gate in use (top 8). Fits rowEnd's 16 bits. */
export const MAX_ASSIGNMENTS_PER_LAP = 16_384;

/**
 * What adapters add to one lap's assignments, one entry for each assignment and adapter: four adapters mixed at each of as many
 * assignments as a lap may have. Fits adapterEnds' 16 bits.
 */
export const MAX_ADAPTER_ENTRIES_PER_LAP = 65_535;

/**
 * One expert's low-rank shard. At V3's width the largest rank (256) takes 29 MB; adapters of usual ranks take 1 to 2 MB. What is
 * larger stays with the coordinator.
 */
export const MAX_ADAPTER_SHARD_BYTES = 32 * 1024 * 1024;

/** Low-rank shards that one message asks a tab to fetch; the next follows when the tab has told what became of these. */
export const MAX_ADAPTER_SHARDS_PER_MESSAGE = 64;

/** Low-rank shards that a tab may hold: eight adapters of each of a thousand experts. Their numbers take 90 KB of JSON. */
export const MAX_ADAPTER_SHARDS_PER_TAB = 8_192;

/** More than twice the widest hidden state in use (7,168). */
export const MAX_HIDDEN_SIZE = 16_384;

/** A full lap of V3 takes 7.4 MB: 512 × 7,168 × 2 B of rows and 0.1 MB of assignments. Bounds what one peer can make us hold. */
export const MAX_FRAME_BYTES = 8 * 1024 * 1024;

/**
 * One message on a data channel. Every WebRTC implementation takes 16 KiB, and since SCTP does not interleave messages, a longer
 * one would hold up the small laps behind it.
 */
export const MAX_MESSAGE_BYTES = 16 * 1024;

/**
 * Smallest payload of a fragment other than the last: about one packet, below which cutting saves no waiting. Bounds the number
 * of pieces that a receiver must keep for the bytes that it allows.
 */
export const MIN_FRAGMENT_PAYLOAD_BYTES = 1024;

/** An SDP for data channels alone takes about 1 KB, and one with many candidates less than 10 KB. */
export const MAX_SDP_CHARS = 64 * 1024;

/** Memory that one tab may lend: no GPU has more. The donor page offers 16 GiB at most. */
export const MAX_PLEDGE_BYTES = 128 * 2 ** 30;

/** V3 has 14,848 routed experts, and no single peer holds them all. */
export const MAX_SHARDS_PER_ASSIGNMENT = 20_000;

/**
 * Kept shards that a donor may list. A tab that lends 16 GiB holds about 700 of V3's at 4.5 bits, and its browser keeps twice
 * what is lent; 4,096 names take 78 KB.
 */
export const MAX_KEPT_SHARDS = 4096;

/** One socket.io message to a donor. The largest, an assignment of 20,000 shards, takes about 2.1 MB of JSON. */
export const MAX_SIGNALLING_TO_DONOR_BYTES = 4 * 1024 * 1024;

/** One socket.io message from a donor. The largest is an SDP of at most 64 KiB, which JSON's escapes can double. */
export const MAX_SIGNALLING_FROM_DONOR_BYTES = 160 * 1024;

/**
 * Messages per second from one donor, averaged over SIGNALLING_BURST_MESSAGES. The densest honest traffic is trickled ICE
 * candidates (tens within a second, once); progress comes twice a second.
 */
export const MAX_SIGNALLING_MESSAGES_PER_SECOND = 20;
export const SIGNALLING_BURST_MESSAGES = 120;

/**
 * What one socket.io connection may send, averaged over SIGNALLING_BURST_BYTES; each packet counts 1 KiB more. A joining tab sends
 * at most about 300 KiB: 80 KiB of hello, four SDPs and their candidates. A megabyte of JSON can take 40 ms to parse.
 */
export const MAX_SIGNALLING_BYTES_PER_SECOND = 64 * 1024;
export const SIGNALLING_BURST_BYTES = 512 * 1024;

/** JSON on a connection's control channel (goodbye, keep-alive); no honest message comes near it. */
export const MAX_CONTROL_BYTES = 4 * 1024;

/** ICE candidates of one connection that are used. Browsers name one or two for each network that they are in. */
export const MAX_CANDIDATES = 8;

/** From the socket's opening to `hello`, which a page sends at once. */
export const HELLO_TIMEOUT_MS = 10_000;

/** From the first signal to an open lap channel. ICE gives up after about 30 s; a TURN allocation behind a slow link takes several. */
export const CONNECT_TIMEOUT_MS = 30_000;

/**
 * From the first signal until ICE has found a way. It takes a second or two, and some more through a relay over a slow line; a page
 * that has found none by then says why, and begins again.
 */
export const PATH_TIMEOUT_MS = 15_000;

/** Interval of the coordinator's pings on a lap channel; it notices a dead peer well before SCTP's own minute. */
export const HEARTBEAT_MS = 2_000;

/** Tabs of one donor are numbered from 0 to one below this; no GPU has memory for more. */
export const MAX_TABS_PER_DONOR = 16;

/** Connections of one tab. Four carry 56 KiB in one round trip (docs/adr/0017); each costs an ICE and a DTLS handshake. */
export const MAX_LAP_CONNECTIONS = 4;

/** Coordinators that one tab serves, its home included. Each is a link of its own with a queue of its own. */
export const MAX_COORDINATORS = 8;

/** Mirrors of shards that a coordinator may name to its tabs. */
export const MAX_SHARD_URLS = 8;

/** Shards that one `seek` may ask for; the next follows within a fraction of a second. */
export const MAX_SOUGHT = 64;

/** New shards that one `seek` may name: what a tab with a full cache tells in a few messages of 20 KB. */
export const MAX_HAD = 1024;

/** Links of one tab to others. Each is a WebRTC connection with its memory, and shows an address. */
export const MAX_TAB_LINKS = 8;

/** Signals of one link of two tabs in one direction: a description and four times the candidates that are used. */
export const MAX_TAB_SIGNALS = 33;

/** Bytes of a shard in one frame between tabs; the last one has the rest. Few enough that a giver soon stops for a lap. */
export const PART_BYTES = 65_536;

/** The least share of the time that a tab may promise to compute. With less it would hold weights that are hardly used. */
export const MIN_SHARE = 0.05;

/** The longest rest that a tab may announce: a month's traffic is used up on its first day. */
export const MAX_REST_MS = 32 * 86_400_000;

/** Changes of its promise that a tab may tell in a minute. A page sends no more than a third of them, and one at its end. */
export const MAX_PROMISES_PER_MINUTE = 30;
