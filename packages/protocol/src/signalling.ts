import { z } from 'zod';
import {
  MAX_KEPT_SHARDS,
  MAX_LAP_CONNECTIONS,
  MAX_SDP_CHARS,
  MAX_SHARDS_PER_ASSIGNMENT,
  MAX_TABS_PER_DONOR,
} from './limits.ts';

/**
 * What a donor's page and the coordinator say to each other over socket.io (namespace `/donor`), before and beside the
 * lap channel. JSON, parsed once with these schemas at the boundary, on both sides. PROTOCOL.md tells the order.
 */

const shortText = z.string().max(200);
/** 128 random bits, base64url or hex: who a donor (one browser's profile) is across visits. A secret of theirs, never shown. */
export const donorTokenSchema = z.string().regex(/^[A-Za-z0-9_-]{22,64}$/);
/** What an invitation link carries. Some more than any that a coordinator makes. */
export const inviteTokenSchema = z.string().regex(/^[\w-]{8,128}$/);
const bytes = z
  .number()
  .int()
  .nonnegative()
  .max(2 ** 46);
const count = z
  .number()
  .int()
  .nonnegative()
  .max(2 ** 40);

export const quantSchema = z.enum(['f16', 'q8', 'q4']);

/** What computes in a tab: a GPU as WebGPU tells of it, or the processor with architecture `wasm` and its threads as description. */
export const adapterSchema = z.object({
  vendor: shortText,
  architecture: shortText,
  description: shortText,
  isFallbackAdapter: z.boolean(),
  maxBufferBytes: bytes,
  maxStorageBindingBytes: bytes,
});
export type AdapterInfo = z.infer<typeof adapterSchema>;

/** Donor → coordinator, acknowledged with a HelloReply. The first message; nothing else is answered before it. */
export const helloSchema = z.object({
  protocolVersions: z.array(z.number().int().min(0).max(65535)).min(1).max(16),
  donorToken: donorTokenSchema,
  /**
   * Which of the donor's tabs this is, from 0, as far as they know; without it 0. The same number from the same donor is the
   * same tab come back: it takes the old one's place.
   */
  tab: z
    .number()
    .int()
    .min(0)
    .max(MAX_TABS_PER_DONOR - 1)
    .optional(),
  adapter: adapterSchema,
  /** Memory that the donor lends, in bytes. */
  pledgeBytes: bytes,
  /**
   * Shards that the donor's browser has kept from earlier visits, the latest last: the first 16 digits of their SHA-256. A
   * coordinator that has just started knows nothing of its donors, and gives back to each what it has.
   */
  kept: z
    .array(z.string().regex(/^[0-9a-f]{16}$/))
    .max(MAX_KEPT_SHARDS)
    .optional(),
  /** How its frames may carry rows; f16 always. A name that the coordinator does not know is of no matter. */
  rowFormats: z.array(z.string().max(20)).max(16).optional(),
  /** Where the swarm takes invited donors only. */
  inviteToken: inviteTokenSchema.optional(),
});
export type Hello = z.infer<typeof helloSchema>;

/** How `hello.kept` names a shard. */
export function keptName(sha256: string): string {
  return sha256.slice(0, 16);
}

/**
 * `invite`: an invitation is wanted, or the one that was sent does not hold. `limit`: the donor's network address has as
 * many tabs, or joins as often, as one may. `no-cpu`: tabs without WebGPU are not taken.
 */
export const refusalCodeSchema = z.enum([
  'version',
  'full',
  'invalid',
  'draining',
  'banned',
  'too-small',
  'invite',
  'limit',
  'no-cpu',
]);
export type RefusalCode = z.infer<typeof refusalCodeSchema>;

export const iceServerSchema = z.object({
  urls: z.union([z.string().max(500), z.array(z.string().max(500)).max(8)]),
  username: shortText.optional(),
  credential: shortText.optional(),
});

export type IceServer = z.infer<typeof iceServerSchema>;

export const helloReplySchema = z.discriminatedUnion('ok', [
  z.object({
    ok: z.literal(true),
    protocolVersion: z.number().int(),
    peerId: z.string().max(64),
    model: z.object({
      /** e.g. `tiny-stories` */
      id: shortText,
      hiddenSize: z.number().int().positive(),
      moeIntermediateSize: z.number().int().positive(),
      quant: quantSchema,
      /** Bytes of one shard; all have the same size. */
      shardBytes: bytes,
    }),
    iceServers: z.array(iceServerSchema).max(8),
    heartbeatMs: z.number().int().positive(),
    /** Connections that the tab is to open in all, for its laps' frames to be spread over; without it one. */
    lapConnections: z.number().int().min(1).max(MAX_LAP_CONNECTIONS).optional(),
  }),
  z.object({ ok: z.literal(false), code: refusalCodeSchema, message: z.string().max(1000) }),
]);
export type HelloReply = z.infer<typeof helloReplySchema>;

/** Which of the tab's connections it is about; without it 0, the main one. */
const connectionNumber = z
  .number()
  .int()
  .min(0)
  .max(MAX_LAP_CONNECTIONS - 1)
  .optional();

/**
 * Both ways, event `signal`: what WebRTC asks to be passed on. simple-peer's other kinds ask for media tracks or for
 * renegotiation; a connection with data alone needs neither, so a stranger may not say them.
 */
export const signalSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.enum(['offer', 'answer']),
    sdp: z.string().min(1).max(MAX_SDP_CHARS),
    connection: connectionNumber,
  }),
  z.object({
    type: z.literal('candidate'),
    candidate: z.object({
      candidate: z.string().max(2048),
      sdpMid: z.string().max(64).nullable(),
      sdpMLineIndex: z.number().int().min(0).max(65535).nullable(),
    }),
    connection: connectionNumber,
  }),
]);
export type Signal = z.infer<typeof signalSchema>;

export const shardRefSchema = z.object({
  layer: z.number().int().min(0).max(65535),
  expert: z.number().int().min(0).max(65535),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});
export type ShardRef = z.infer<typeof shardRefSchema>;

/**
 * Coordinator → donor, event `assign`: the complete list of experts that the peer is to hold from now on. The peer fetches
 * what it lacks from `GET /shards/<sha256>`, unloads what is not listed (after the laps in flight), then says `ready`.
 * A later assignment replaces an earlier one, finished or not.
 */
export const assignSchema = z.object({
  epoch: z.number().int().nonnegative(),
  shards: z.array(shardRefSchema).max(MAX_SHARDS_PER_ASSIGNMENT),
});
export type Assign = z.infer<typeof assignSchema>;

/** Donor → coordinator, event `progress`: at most 2 a second while loading. */
export const progressSchema = z.object({
  epoch: z.number().int().nonnegative(),
  phase: z.enum(['downloading', 'uploading']),
  doneBytes: bytes,
  totalBytes: bytes,
  /** Of doneBytes, how much came out of the donor's own cache. */
  cachedBytes: bytes,
});
export type Progress = z.infer<typeof progressSchema>;

/** Donor → coordinator, event `ready`: all of an assignment's experts are on the GPU; the self-test may begin. */
export const readySchema = z.object({ epoch: z.number().int().nonnegative(), allocatedBytes: bytes });
export type Ready = z.infer<typeof readySchema>;

/** Donor → coordinator, event `trouble`: an assignment cannot be held. */
export const troubleSchema = z.object({
  epoch: z.number().int().nonnegative(),
  code: z.enum(['download', 'hash', 'out-of-memory', 'device-lost', 'limits', 'internal']),
  message: z.string().max(1000),
});
export type Trouble = z.infer<typeof troubleSchema>;

/**
 * Donor → coordinator, event `intent`. `pause`: no new laps until `resume`, weights stay. `finish`: no new work; the
 * coordinator says `dismissed` once the laps in flight and the re-plan are done. `leave`: gone now (also sent on pagehide).
 */
export const intentSchema = z.object({ intent: z.enum(['pause', 'resume', 'finish', 'leave']) });
export type Intent = z.infer<typeof intentSchema>;

/** Coordinator → donor, event `standing`: at every change and once a second while working. All figures are of this visit unless said. */
export const standingSchema = z.object({
  phase: z.enum(['connecting', 'loading', 'testing', 'waiting', 'working', 'paused', 'draining']),
  epoch: z.number().int().nonnegative(),
  layers: z.array(z.number().int()).max(1000),
  experts: count,
  rows: count,
  rowsPerSecond: z.number().nonnegative(),
  /** Tokens that passed through at least one of this donor's experts. */
  tokensHelped: count,
  /** The same, of all tabs of this donor added up, since the coordinator first saw it. */
  tokensHelpedTotal: count,
  rttMs: z.number().nonnegative().nullable(),
  lapMs: z.number().nonnegative().nullable(),
  /** Share of the self-test's experts that matched, 0 to 1; null before the test. */
  verifiedShare: z.number().min(0).max(1).nullable(),
  /** Rows that the coordinator computed again and found right, of all tabs of this donor since it first saw it. */
  verifiedRows: count,
});
export type Standing = z.infer<typeof standingSchema>;

/** Coordinator → donor, event `dismissed`: the peer has no more work here. `retry`: whether coming back by itself makes sense. */
export const dismissedSchema = z.object({
  code: z.enum(['finished', 'removed', 'self-test', 'wrong-results', 'protocol', 'draining', 'timeout', 'replaced']),
  message: z.string().max(1000),
  retry: z.boolean(),
});
export type Dismissed = z.infer<typeof dismissedSchema>;

export interface DonorToCoordinator {
  hello(message: Hello, reply: (answer: HelloReply) => void): void;
  signal(message: Signal): void;
  progress(message: Progress): void;
  ready(message: Ready): void;
  trouble(message: Trouble): void;
  intent(message: Intent): void;
}
export interface CoordinatorToDonor {
  signal(message: Signal): void;
  assign(message: Assign): void;
  standing(message: Standing): void;
  dismissed(message: Dismissed): void;
}
