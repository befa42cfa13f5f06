import { z } from 'zod';

/**
 * What the operator's console receives over socket.io (namespace `/console`, `auth: { token }`): event `snapshot` once a
 * second (a ConsoleSnapshot), event `events` (ConsoleEvent[], oldest first; the backlog on connecting, then new ones).
 * It is the coordinator's own data, so these are plain types; what the console *sends* is parsed by schema.
 */
export type PeerState = 'connecting' | 'loading' | 'testing' | 'waiting' | 'working' | 'paused' | 'draining' | 'gone';

export interface PeerView {
  peerId: string;
  state: PeerState;
  /** e.g. `google swiftshader (software)` */
  adapter: string;
  /** Tabs of one donor have the same: the beginning of a hash of the donor's token. */
  donor: string;
  address: string;
  pledgeBytes: number;
  allocatedBytes: number;
  experts: number;
  layers: number[];
  rows: number;
  rowsPerSecond: number;
  /** Share of all rows × experts computed since start, 0 to 1. */
  workShare: number;
  lapMsP50: number | null;
  lapMsP95: number | null;
  rttMs: number | null;
  /** Laps that missed their deadline or failed ÷ laps asked, 0 to 1. */
  lossShare: number;
  bytesSent: number;
  bytesReceived: number;
  /** Download progress while loading, 0 to 1. */
  loadedShare: number;
  sinceMs: number;
  /** Present when something is wrong, in words. */
  note?: string;
  /** How far its results are believed (docs/adr/0007-audits.md). */
  trust: {
    phase: 'probation' | 'trusted' | 'quarantined';
    /** Share of its rows that are computed again, 0 to 1. */
    auditShare: number;
    /** Rows of this visit that were compared, and of those the wrong ones. */
    auditedRows: number;
    failures: number;
    /** Rows found right of all tabs of its donor since the coordinator started: the donor's credit. */
    verifiedRows: number;
  };
  /** Last 60 s of median lap times, one a second, null where no lap. */
  lapHistoryMs: (number | null)[];
}

export interface PlacementView {
  epoch: number;
  /** Model layer numbers, one row of the map each. */
  layers: number[];
  expertsPerLayer: number;
  /** [layers][experts]: live replicas. */
  replicas: number[][];
  /** [layers][experts]: rows a second, decayed. */
  load: number[][];
  /** [layers][experts]: indices into `peerIds`. */
  holders: number[][][];
  peerIds: string[];
}

export interface FlowView {
  tokensPerSecond: number;
  tokensTotal: number;
  /** Laps that an answer needed for each token since start: fewer than the floor of one token a pass where drafts were right. */
  lapsPerToken: number | null;
  /** Tokens drafted ahead since start, and those that were right. */
  drafts: { drafted: number; accepted: number };
  /** Bytes on the wire (both ways) for one token's row through all its laps, and the floor laps × 2 × hidden × 2 B. */
  bytesPerToken: number | null;
  floorBytesPerToken: number;
  floorLapsPerToken: number;
  /** Share of answers' expert work done by tabs since start, 0 to 1; null before any. */
  tabShare: number | null;
  uncoveredExperts: number;
  /** Rows × experts that the coordinator computed for want of a tab since start. */
  uncoveredWork: number;
  /** What the coordinator holds by plan, apart from what it computes for want of a tab. */
  localLayers: {
    /** Layers of the main model: they make no lap. */
    layers: number[];
    /** In the memory for them: experts of these layers, and of the MTP module. */
    bytes: number;
    /** Share of expert work done in these layers since start, 0 to 1; null before any. */
    share: number | null;
    /** Rows × experts of drafts, which are in no share: they enter no answer. */
    draftWork: number;
  };
  audits: {
    /** Rows of tabs compared since start, in shadow or after use, and of those the wrong ones. */
    comparedRows: number;
    wrongRows: number;
    /** Rows in answers of tabs that were found out later, since their last good audits. */
    uncheckedRows: number;
    /** Donors and addresses that are kept out now. */
    keptOut: number;
  };
  /** Milliseconds of one forward pass, recent medians summed over its laps; what is not measured is null. */
  timeSplitMs: {
    engine: number | null;
    queue: number | null;
    wire: number | null;
    compute: number | null;
    /** Layers that the coordinator holds. */
    localLayers: number | null;
  };
  kvBytesInUse: number;
  kvBytesPerToken: number;
  /** What plain multi-head attention would keep per token at the same element size. */
  mhaBytesPerToken: number;
  /** Last 120 s, one a second. */
  tokensPerSecondHistory: number[];
}

export interface RequestView {
  id: string;
  state: 'queued' | 'prefill' | 'decode';
  promptTokens: number;
  completionTokens: number;
  maxTokens: number;
  /** Tokens drafted ahead of it, and those that were right. */
  drafted: number;
  accepted: number;
  ageMs: number;
}

/** Median and 95th percentile of the last 512, in milliseconds; null before there was any. */
export interface WaitView {
  p50: number | null;
  p95: number | null;
}

export interface ConsoleEvent {
  seq: number;
  timeMs: number;
  level: 'info' | 'warning' | 'error';
  kind: 'peer' | 'placement' | 'lap' | 'request' | 'server';
  /** A sentence that a person can read. */
  text: string;
  peerId?: string;
}

export interface ConsoleSnapshot {
  modelId: string;
  quant: string;
  version: string;
  startedMs: number;
  nowMs: number;
  verdict: {
    state: 'serving' | 'uncovered' | 'alone' | 'draining';
    text: string;
    /** The one thing that most needs attention, and where to look (`#peers`, `#map`, `#flow`, `#requests`, `#events`). */
    attention?: { text: string; href: string };
  };
  peers: PeerView[];
  placement: PlacementView;
  flow: FlowView;
  requests: RequestView[];
  queuedRequests: number;
  /** How long requests wait for a place, for their first token (from their submission), and from one token to the next. */
  waits: { queue: WaitView; firstToken: WaitView; betweenTokens: WaitView };
}

/** Coordinator → console, event `role`: who has signed in. Sent first, and again when it changes. A viewer's commands are refused. */
export interface ConsoleRole {
  name: string;
  role: 'viewer' | 'operator';
}

/** Console → coordinator, event `command`, acknowledged with a CommandReply. */
export const commandSchema = z.discriminatedUnion('command', [
  z.object({ command: z.literal('drain'), peerId: z.string().min(1).max(64) }),
  z.object({ command: z.literal('remove'), peerId: z.string().min(1).max(64) }),
]);
export type Command = z.infer<typeof commandSchema>;
export type CommandReply = { ok: true } | { ok: false; message: string };
