import { z } from 'zod';
import { banMinutesSchema, banReasonSchema } from './bans.ts';
import type { AttentionItem } from './attention.ts';
import type { RestReason } from './promise.ts';

/**
 * Messages to the operator's console over socket.io (namespace `/console`, `auth: { token }`): event `snapshot` once a second (a
 * ConsoleSnapshot), event `events` (ConsoleEvent[], oldest first; the backlog on connecting, then new ones). The coordinator is
 * trusted, so these are plain types; what the console *sends* is parsed by schema.
 */
export type PeerState =
  'connecting' | 'loading' | 'testing' | 'waiting' | 'working' | 'paused' | 'resting' | 'draining' | 'gone';

export interface PeerView {
  peerId: string;
  state: PeerState;
  /** e.g. `google swiftshader (software)` */
  adapter: string;
  /** Start of a hash of the donor's token, the same for all of its tabs. */
  donor: string;
  address: string;
  pledgeBytes: number;
  allocatedBytes: number;
  experts: number;
  layers: number[];
  rows: number;
  rowsPerSecond: number;
  /** Share of all assignments computed since start, 0 to 1. */
  workShare: number;
  lapMsP50: number | null;
  lapMsP95: number | null;
  rttMs: number | null;
  /** Share of laps that missed their deadline or failed, 0 to 1. */
  lossShare: number;
  bytesSent: number;
  bytesReceived: number;
  /** Download progress while loading, 0 to 1. */
  loadedShare: number;
  sinceMs: number;
  /** What is wrong, as text. */
  note?: string;
  /** Share of the time that it computes, by its donor's limits; absent where these are none. */
  share?: number;
  /** Why it rests, by its donor's limits. `untilMs`: as `sinceMs`, where it has said so. */
  rest?: { why: RestReason; untilMs?: number };
  /** How far its results are trusted (docs/adr/0007-audits.md). */
  trust: {
    phase: 'probation' | 'trusted' | 'quarantined';
    /** Share of its rows that are audited, 0 to 1. */
    auditShare: number;
    /** Rows of this visit that were compared, and how many of them were wrong (`failures`). */
    auditedRows: number;
    failures: number;
    /** Rows found right over all tabs of its donor since the coordinator started. */
    verifiedRows: number;
  };
  /** What its donor has done in all, with its name, if it has one; absent until it is known. */
  credit?: { name: string | null; tokens: number; rows: number; verifiedRows: number };
  /** Median lap time of each of the last 60 seconds; null without a lap. */
  lapHistoryMs: (number | null)[];
  /** Name of the coordinator that it signals with, where there are several. */
  coordinator?: string;
}

export interface PlacementView {
  epoch: number;
  /** Model layer number of each row of the map. */
  layers: number[];
  expertsPerLayer: number;
  /** [layers][experts]: live replicas. */
  replicas: number[][];
  /** [layers][experts]: rows per second, decayed. */
  load: number[][];
  /** [layers][experts]: indices into `peerIds`. */
  holders: number[][][];
  peerIds: string[];
}

export interface FlowView {
  tokensPerSecond: number;
  tokensTotal: number;
  /** Laps per answered token since start; below the floor of one token per pass if drafts were right. */
  lapsPerToken: number | null;
  /** Tokens drafted since start, and how many of them were right. */
  drafts: { drafted: number; accepted: number };
  /** Bytes on the wire, both ways, for one token's row in all laps; the floor is laps × 2 × hidden × 2 B. */
  bytesPerToken: number | null;
  floorBytesPerToken: number;
  floorLapsPerToken: number;
  /** Share of expert work for answers done by tabs since start, 0 to 1; null before any. */
  tabShare: number | null;
  uncoveredExperts: number;
  /** Assignments that the coordinator computed since start because no tab could. */
  uncoveredWork: number;
  /** Layers that the coordinator computes by plan; fallback work is not included. */
  localLayers: {
    /** Local layers of the main model, which need no lap. */
    layers: number[];
    /** Memory for the experts of these layers and of the MTP module. */
    bytes: number;
    /** Share of expert work done in these layers since start, 0 to 1; null before any. */
    share: number | null;
    /** Assignments of drafts, which count towards no share since they enter no answer. */
    draftWork: number;
  };
  audits: {
    /** Rows of tabs compared since start, in probation or after use, and how many of them were wrong. */
    comparedRows: number;
    wrongRows: number;
    /** Rows in answers from tabs that were later caught, since their last good audits. */
    uncheckedRows: number;
    /** Donors and addresses in quarantine now. */
    keptOut: number;
  };
  /** Milliseconds of one forward pass, as recent medians summed over its laps; null if not measured. */
  timeSplitMs: {
    engine: number | null;
    queue: number | null;
    wire: number | null;
    compute: number | null;
    /** Experts of local layers. */
    localLayers: number | null;
  };
  kvBytesInUse: number;
  kvBytesPerToken: number;
  /** What plain multi-head attention would keep per token at the same element size. */
  mhaBytesPerToken: number;
  /** One value for each of the last 120 seconds. */
  tokensPerSecondHistory: number[];
}

export interface RequestView {
  id: string;
  /** `key NAME` or `address ADDRESS`; empty where it is not known. */
  client: string;
  /** The model or adapter that answers. */
  model: string;
  /** The last three: it has ended. */
  state: 'queued' | 'prefill' | 'decode' | 'finished' | 'failed' | 'cancelled';
  /** Why it failed or was cancelled, and by whom. */
  reason?: string;
  /** From its submission on; null before the first token. */
  firstTokenMs: number | null;
  /** How long ago it ended; null while it runs. */
  endedAgoMs: number | null;
  promptTokens: number;
  completionTokens: number;
  maxTokens: number;
  /** Tokens drafted for it, and how many of them were right. */
  drafted: number;
  accepted: number;
  ageMs: number;
  /** Name of the coordinator that answers it, where there are several. */
  coordinator?: string;
}

/** One of the coordinators that serve one swarm. */
export interface CoordinatorView {
  /** Member id. */
  id: string;
  /** Host name and port. */
  name: string;
  /** Whether the console is connected to it. */
  isSelf: boolean;
  /** Whether it leads the placement of all tabs. */
  isLeader: boolean;
  /** `cut`: it cannot reach the database. `silent`: it has sent no figures for some seconds. */
  state: ConsoleSnapshot['verdict']['state'] | 'cut' | 'silent';
  /** Null without figures of it. */
  figures: CoordinatorFigures | null;
  version: string;
  /** How long it has been running, in milliseconds. */
  upMs: number;
}

export interface CoordinatorFigures {
  tokensPerSecond: number;
  requests: number;
  /** Tabs that signal with it, and links to tabs of others. */
  tabs: number;
  guestLinks: number;
  /** How late timers were, in 99 % of cases over the last seconds. */
  eventLoopP99Ms: number;
}

export interface AdapterView {
  name: string;
  /** The folder or the name on a hub that it was loaded from. */
  source: string;
  /** What it is for; empty without a description. */
  description: string;
  /** How many prompts for it are known. */
  examples: number;
  /** The largest of its matrices. */
  rank: number;
  /** Layers in which it changes what the coordinator computes, and those in which it changes routed experts. */
  denseLayers: number;
  expertLayers: number;
  /** Of how many adapters it is a mixture; 0 if it is none. */
  mixes: number;
  bytes: number;
  /** Answers that use it now. */
  requests: number;
  loadedMs: number;
}

export interface AdaptersView {
  loaded: AdapterView[];
  /** In the order in which they are loaded, one at a time. */
  loading: { name: string; source: string; sinceMs: number }[];
  /** Memory of all that are loaded, or still used, and what there is for them. */
  bytes: number;
  memoryBytes: number;
  /** Whether the coordinator may load adapters at run time (--adapter-dir). */
  takesMore: boolean;
}

/** Median and 95th percentile of the last 512 values, in milliseconds; null before the first. */
export interface WaitView {
  p50: number | null;
  p95: number | null;
}

export interface ConsoleEvent {
  seq: number;
  timeMs: number;
  level: 'info' | 'warning' | 'error';
  kind: 'peer' | 'placement' | 'lap' | 'request' | 'server';
  /** A sentence for people. */
  text: string;
  peerId?: string;
  /** Name of the coordinator that it is from, where there are several. */
  coordinator?: string;
}

export interface ConsoleSnapshot {
  /** Where several coordinators serve one swarm: all of them. The other figures are then about all too. */
  coordinators?: CoordinatorView[];
  modelId: string;
  quant: string;
  version: string;
  /** Like `sinceMs` of a peer, on a clock that is not set: only differences of the three are exact. */
  startedMs: number;
  nowMs: number;
  verdict: {
    state: 'serving' | 'uncovered' | 'alone' | 'draining';
    text: string;
  };
  /** What needs attention, the most urgent first. */
  attention: AttentionItem[];
  peers: PeerView[];
  placement: PlacementView;
  flow: FlowView;
  /** Those under way, then those that ended lately, the latest first. */
  requests: RequestView[];
  /** Whether an operator lets all tabs rest (`drainAll`). */
  isDrainingAll: boolean;
  queuedRequests: number;
  /** Null where the coordinator was started without adapters. */
  adapters: AdaptersView | null;
  /** How long requests wait in the queue, for their first token (from submission), and from one token to the next. */
  waits: { queue: WaitView; firstToken: WaitView; betweenTokens: WaitView };
}

/** Coordinator → console, event `role`: the signed-in user. Sent first and at every change. A viewer's commands are refused. */
export interface ConsoleRole {
  name: string;
  role: 'viewer' | 'operator';
}

/** Console → coordinator, event `command`, acknowledged with a CommandReply. */
export const commandSchema = z.discriminatedUnion('command', [
  /** The tab rests, once others have taken over, and comes back by itself after `minutes`; null: when the drain is lifted. */
  z.object({
    command: z.literal('drain'),
    peerId: z.string().min(1).max(64),
    minutes: banMinutesSchema.default(15),
    reason: banReasonSchema.default(''),
  }),
  /** The tab's visit ends at once, and its donor, or everybody on its network, is kept out for `minutes`. */
  z.object({
    command: z.literal('remove'),
    peerId: z.string().min(1).max(64),
    minutes: banMinutesSchema.default(60),
    reason: banReasonSchema.default(''),
    whom: z.enum(['donor', 'network']).default('donor'),
  }),
  /** A request for an answer ends with an error. */
  z.object({ command: z.literal('cancel-request'), id: z.string().min(1).max(256) }),
  z.object({
    command: z.literal('load-adapter'),
    name: z.string().max(1024),
    /** A folder in the directory of --adapter-dir. */
    path: z.string().max(1024),
    /** In the place of what the folder says. */
    description: z.string().max(1024).optional(),
  }),
  z.object({ command: z.literal('unload-adapter'), name: z.string().max(1024) }),
]);
export type Command = z.infer<typeof commandSchema>;
export type PeerCommand = Extract<Command, { peerId: string }>;
export type RequestCommand = Extract<Command, { command: 'cancel-request' }>;
export type AdapterCommand = Exclude<Command, PeerCommand | RequestCommand>;
/** As the console sends it. */
export type GivenCommand = z.input<typeof commandSchema>;
export type CommandReply = { ok: true } | { ok: false; message: string };
