import { EXPERT_ACTIVATIONS } from '@shoal/model';
import { z } from 'zod';
import { contributionSchema } from './contribution.ts';
import { type Challenge, proofSchema } from './identity.ts';
import { list } from './list.ts';
import {
  MAX_ADAPTER_SHARD_BYTES,
  MAX_ADAPTER_SHARDS_PER_MESSAGE,
  MAX_ADAPTER_SHARDS_PER_TAB,
  MAX_COORDINATORS,
  MAX_KEPT_SHARDS,
  MAX_LAP_CONNECTIONS,
  MAX_PLEDGE_BYTES,
  MAX_SDP_CHARS,
  MAX_SHARDS_PER_ASSIGNMENT,
  MAX_TABS_PER_DONOR,
} from './limits.ts';
import { MAX_SHARD_URLS } from './limits.ts';
import type { NoPath } from './no-path.ts';
import { promiseSchema, type TabPromise } from './promise.ts';
import { type Fetched, shardUrlSchema } from './shard-sources.ts';

/**
 * Messages between a donor's page and the coordinator over socket.io (namespace `/donor`), before and beside the lap channel:
 * JSON, parsed once at the boundary on both sides. PROTOCOL.md shows their order.
 */

const shortText = z.string().max(200);
/** 128 random bits, base64url or hex, that identify a donor (one browser profile) across visits. Secret; never displayed. */
export const donorTokenSchema = z.string().regex(/^[A-Za-z0-9_-]{22,64}$/);
/** The token in an invitation link; somewhat looser than what a coordinator makes. */
export const inviteTokenSchema = z.string().regex(/^[\w-]{8,128}$/);
const upTo = (max: number) => z.number().int().min(0).max(max);
const bytes = upTo(2 ** 46);
const count = upTo(2 ** 40);
const u16 = upTo(65_535);
const epoch = z.number().int().nonnegative();

export const quantSchema = z.enum(['f16', 'q8', 'q4', 'mxfp4']);

/** What computes in a tab: a GPU as WebGPU describes it, or the CPU with architecture `wasm` and its threads as description. */
export const adapterSchema = z.object({
  vendor: shortText,
  architecture: shortText,
  description: shortText,
  isFallbackAdapter: z.boolean(),
  maxBufferBytes: bytes,
  maxStorageBindingBytes: bytes,
});
export type AdapterInfo = z.infer<typeof adapterSchema>;

/** Donor → coordinator, acknowledged with a HelloReply. Must be the first message. */
export const helloSchema = z.object({
  protocolVersions: list(u16).min(1).max(16),
  donorToken: donorTokenSchema,
  /** Over this socket's challenge, for joining. With it, the donor is its key; without it, its token. */
  proof: proofSchema.optional(),
  /** Number of this tab among the donor's, from 0 (the default). The same tab coming back uses the same number, and replaces the old one. */
  tab: upTo(MAX_TABS_PER_DONOR - 1).optional(),
  adapter: adapterSchema,
  /** Memory that the donor lends. */
  pledgeBytes: upTo(MAX_PLEDGE_BYTES),
  /**
   * Shards that the donor's browser kept from earlier visits, newest last: the first 16 digits of their SHA-256. A coordinator
   * that has just restarted assigns each donor what it already has.
   */
  kept: list(z.string().regex(/^[0-9a-f]{16}$/))
    .max(MAX_KEPT_SHARDS)
    .optional(),
  /** Row formats that its frames may use; f16 always works. Unknown names are ignored. */
  rowFormats: list(z.string().max(20)).max(16).optional(),
  /** Kinds of experts that it computes: activations, formats of shards, `bias`. Without it, what tabs did before these had names. */
  expertKinds: list(z.string().max(40)).max(64).optional(),
  /** Whether its donor agrees to exchange shards with other tabs, which learn its address. */
  tabToTab: z.boolean().optional(),
  /** Needed if the swarm takes invited donors only. */
  inviteToken: inviteTokenSchema.optional(),
  /** Coordinators of one cluster that the tab serves at most, this one included. Without it, this one alone. */
  maxCoordinators: z.number().int().min(1).max(MAX_COORDINATORS).optional(),
  /** Its clock, in epoch milliseconds: where those of most tabs differ from the coordinator's, that one is wrong. */
  clockMs: z.number().min(0).max(Number.MAX_SAFE_INTEGER).optional(),
  /** What its donor's limits allow now; without it, everything. */
  promise: promiseSchema.optional(),
});
export type Hello = z.infer<typeof helloSchema>;

/** Returns the name of a shard in `hello.kept`. */
export function keptName(sha256: string): string {
  return sha256.slice(0, 16);
}

/**
 * `invite`: an invitation is required, or the one sent is not valid. `limit`: the donor's network address has too many tabs or
 * joins too often. `no-cpu`: tabs without WebGPU are not accepted. `wait`: earlier visits of the donor or from its network were of
 * no use. `kind`: the tab does not compute the model's kind of experts. `banned`: in quarantine after wrong results. `removed`: an
 * operator keeps the donor or its network out. `drained`: an operator lets the tab rest; it comes back after `retryAfterMs`.
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
  'kind',
  'wait',
  'removed',
  'drained',
]);

/** What an operator who sends a tab away, or keeps it out, tells its donor. */
const farewell = {
  /** In the operator's words; left out where they gave none. */
  reason: z.string().max(200).optional(),
  /** When the donor may come back, as a date in epoch milliseconds; left out where no end is known. */
  untilMs: upTo(Number.MAX_SAFE_INTEGER).optional(),
  /** When the tab is to come back by itself. */
  retryAfterMs: upTo(86_400_000).optional(),
};
export type RefusalCode = z.infer<typeof refusalCodeSchema>;

export const iceServerSchema = z.object({
  urls: z.union([z.string().max(500), z.array(z.string().max(500)).max(8)]),
  username: shortText.optional(),
  credential: shortText.optional(),
});

export type IceServer = z.infer<typeof iceServerSchema>;

/** What a tab needs to know to connect to a coordinator. */
const linkTerms = {
  iceServers: z.array(iceServerSchema).max(8),
  /** Total number of connections for the tab to open and spread its frames over; 1 by default. */
  lapConnections: z.number().int().min(1).max(MAX_LAP_CONNECTIONS).optional(),
};

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
      /** What an expert computes; swiglu by default. */
      activation: z.enum(EXPERT_ACTIVATIONS).optional(),
      /** Whether its matrices have biases. */
      bias: z.boolean().optional(),
      /** Size of every shard. */
      shardBytes: bytes,
    }),
    heartbeatMs: z.number().int().positive(),
    ...linkTerms,
    /** Where to look for shards first, in this order; the coordinator has them too. */
    shardUrls: z.array(shardUrlSchema).max(MAX_SHARD_URLS).optional(),
    /** Whether the tab is to `seek` shards that other tabs have. Only tabs that agreed to it are asked. */
    tabToTab: z.boolean().optional(),
  }),
  z.object({ ok: z.literal(false), code: refusalCodeSchema, message: z.string().max(1000), ...farewell }),
]);
export type HelloReply = z.infer<typeof helloReplySchema>;

/** The tab's connection that a signal belongs to; 0, the main one, by default. */
const connectionNumber = upTo(MAX_LAP_CONNECTIONS - 1).optional();

/** A coordinator among those of its cluster, as `c-0123abcd`; new at each of its starts. */
export const coordinatorIdSchema = z.string().regex(/^c-[0-9a-f]{8}$/);

/**
 * A guest of the tab: a coordinator that is not its home. `attempt` numbers the guest's links to the tab, since signals of an
 * earlier one may still be on their way.
 */
const guestRef = { coordinator: coordinatorIdSchema, attempt: u16 };

/** The guest that a signal is from or for; without it, it is the home's. */
const guest = z.object(guestRef).optional();

/**
 * Both ways, event `signal`: WebRTC's own signalling. simple-peer's other kinds (media tracks, renegotiation) are not needed for
 * data and not accepted.
 */
export const signalSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.enum(['offer', 'answer']),
    sdp: z.string().min(1).max(MAX_SDP_CHARS),
    connection: connectionNumber,
    guest,
  }),
  z.object({
    type: z.literal('candidate'),
    candidate: z.object({
      candidate: z.string().max(2048),
      sdpMid: z.string().max(64).nullable(),
      sdpMLineIndex: u16.nullable(),
    }),
    connection: connectionNumber,
    guest,
  }),
]);
export type Signal = z.infer<typeof signalSchema>;

/**
 * Coordinator → donor, event `guest`: another coordinator of the cluster wants a link to the tab (`open`), or no longer. The tab
 * connects to it as to its home, with signals that name it and travel over the home. Only tabs that say `maxCoordinators` get it.
 */
export const guestSchema = z.discriminatedUnion('open', [
  z.object({ open: z.literal(true), ...guestRef, ...linkTerms }),
  z.object({ open: z.literal(false), ...guestRef }),
]);
export type Guest = z.infer<typeof guestSchema>;

/**
 * Donor → coordinator, event `guest-refused`: the tab has no link to a guest, and will have none before it is asked again. `limit`:
 * it serves as many coordinators as it may. `failed`: it could not connect.
 */
export const guestRefusedSchema = z.object({ ...guestRef, code: z.enum(['limit', 'failed']) });
export type GuestRefused = z.infer<typeof guestRefusedSchema>;

export const shardRefSchema = z.object({
  layer: u16,
  expert: u16,
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});
export type ShardRef = z.infer<typeof shardRefSchema>;

/**
 * Coordinator → donor, event `assign`: the complete list of experts that the peer is to hold. The peer unloads what is not listed
 * (after the laps in flight), fetches what it lacks from `GET /shards/<sha256>`, then sends `ready`. A later assignment replaces
 * an earlier one, finished or not.
 */
export const assignSchema = z.object({
  epoch,
  shards: z.array(shardRefSchema).max(MAX_SHARDS_PER_ASSIGNMENT),
});
export type Assign = z.infer<typeof assignSchema>;

/** A low-rank shard's number is the coordinator's; frames name it. One of a tab's numbers never changes its meaning. */
const adapterNumber = upTo(2 ** 32 - 1);
export const adapterShardRefSchema = shardRefSchema.extend({
  number: adapterNumber,
  bytes: z.number().int().min(1).max(MAX_ADAPTER_SHARD_BYTES),
});
export type AdapterShardRef = z.infer<typeof adapterShardRefSchema>;

/**
 * Coordinator → donor, event `adapters`: low-rank shards to give up, and then to fetch from `GET /shards/<sha256>` for experts that
 * the peer has. It holds them in what its experts leave of the memory that it lends, and answers with `adapted`. A shard goes with
 * its expert. Only tabs that name `low-rank` among their kinds of experts get it.
 */
export const adapterShardsSchema = z.object({
  drop: list(adapterNumber).max(MAX_ADAPTER_SHARDS_PER_TAB),
  add: list(adapterShardRefSchema).max(MAX_ADAPTER_SHARDS_PER_MESSAGE),
});
export type AdapterShards = z.infer<typeof adapterShardsSchema>;

/**
 * Donor → coordinator, event `adapted`: what became of the shards of an `adapters` message, `held` or `refused`, once all of them
 * have been tried. `gone`: shards that it held and gave up by itself, since its experts need their memory.
 */
export const adaptedSchema = z.object({
  held: list(adapterNumber).max(MAX_ADAPTER_SHARDS_PER_MESSAGE),
  refused: list(adapterNumber).max(MAX_ADAPTER_SHARDS_PER_MESSAGE),
  gone: list(adapterNumber).max(MAX_ADAPTER_SHARDS_PER_TAB),
  /** Of all that it holds. */
  bytes,
});
export type Adapted = z.infer<typeof adaptedSchema>;

/** Donor → coordinator, event `progress`: at most twice a second while loading. */
export const progressSchema = z.object({
  epoch,
  phase: z.enum(['downloading', 'uploading']),
  doneBytes: bytes,
  totalBytes: bytes,
  /** Part of doneBytes that came from the donor's own cache. */
  cachedBytes: bytes,
});
export type Progress = z.infer<typeof progressSchema>;

/** Donor → coordinator, event `ready`: all assigned experts are loaded, and the known-answer test may begin. */
export const readySchema = z.object({ epoch, allocatedBytes: bytes });
export type Ready = z.infer<typeof readySchema>;

/** Donor → coordinator, event `trouble`: the assignment cannot be loaded. */
export const troubleSchema = z.object({
  epoch,
  code: z.enum(['download', 'hash', 'out-of-memory', 'device-lost', 'limits', 'internal']),
  message: z.string().max(1000),
});
export type Trouble = z.infer<typeof troubleSchema>;

/**
 * Donor → coordinator, event `intent`. `pause`: no laps until `resume`, weights stay. `finish`: no new work; the coordinator
 * sends `dismissed` once the laps in flight and the new placement are done. `leave`: leaving now (also sent on pagehide).
 */
export const intentSchema = z.object({ intent: z.enum(['pause', 'resume', 'finish', 'leave']) });
export type Intent = z.infer<typeof intentSchema>;

/** Coordinator → donor, event `standing`: at every change, and once a second while working. Figures are for this visit unless noted. */
export const standingSchema = z.object({
  phase: z.enum(['connecting', 'loading', 'testing', 'waiting', 'working', 'paused', 'resting', 'draining']),
  epoch,
  layers: z.array(z.number().int()).max(1000),
  experts: count,
  rows: count,
  rowsPerSecond: z.number().nonnegative(),
  /** Tokens that passed through at least one of this donor's experts. */
  tokensHelped: count,
  /** What the donor has done in all; absent until it is known. */
  contribution: contributionSchema.optional(),
  rttMs: z.number().nonnegative().nullable(),
  lapMs: z.number().nonnegative().nullable(),
  /** Share of experts that passed the known-answer test, 0 to 1; null before it. */
  verifiedShare: z.number().min(0).max(1).nullable(),
});
export type Standing = z.infer<typeof standingSchema>;

/**
 * Coordinator → donor, event `dismissed`: the visit is over. `retry`: whether the tab should come back by itself, after
 * `retryAfterMs` if that is given. `drained`: an operator lets the tab rest, and nothing is wrong with it.
 */
export const dismissedSchema = z.object({
  code: z.enum([
    'finished',
    'removed',
    'drained',
    'self-test',
    'wrong-results',
    'protocol',
    'draining',
    'timeout',
    'replaced',
  ]),
  message: z.string().max(1000),
  retry: z.boolean(),
  ...farewell,
});
export type Dismissed = z.infer<typeof dismissedSchema>;

export interface DonorToCoordinator {
  hello(message: Hello, reply: (answer: HelloReply) => void): void;
  signal(message: Signal): void;
  progress(message: Progress): void;
  ready(message: Ready): void;
  trouble(message: Trouble): void;
  adapted(message: Adapted): void;
  fetched(message: Fetched): void;
  intent(message: Intent): void;
  promise(message: TabPromise): void;
  'guest-refused'(message: GuestRefused): void;
  'no-path'(message: NoPath): void;
}
export interface CoordinatorToDonor {
  challenge(message: Challenge): void;
  signal(message: Signal): void;
  guest(message: Guest): void;
  assign(message: Assign): void;
  adapters(message: AdapterShards): void;
  standing(message: Standing): void;
  dismissed(message: Dismissed): void;
}
