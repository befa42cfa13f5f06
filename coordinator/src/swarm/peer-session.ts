import { capacityInExperts, type ExpertIndex, type PlacementPeer } from '@shoal/placement';
import type { Contribution, Hello, PeerState, RowFormat, Standing } from '@shoal/protocol';
import type { Link } from '@shoal/transport';
import { TokenBucket } from '../base/token-bucket.ts';
import { type Clock, steadyUnixMs, systemClock } from '../base/clock.ts';
import type { WorkItem } from '@shoal/model';
import type { LapClient } from '../laps/lap-client.ts';
import type { LapPeer } from '../laps/lap-splitter.ts';
import { believed, type PeerTrust } from '../trust/peer-trust.ts';
import type { Trust } from '../trust/trust.ts';
import type { DonorControl } from './donor-control.ts';
import type { DonorHistory } from './donor-records.ts';
import type { PeerAdapters } from './peer-adapters.ts';
import { placementTrust, type PlannedTab, speedStep, takesPart } from './planned-tab.ts';
import { PeerPromise } from './peer-promise.ts';
import { isStopped, PEER_TRANSITIONS, type PeerEvent, READY_STATES } from './peer-state.ts';
import { linkBytes } from './wire-meter.ts';

/** Tests that a visit may cause to be made again: by losing its GPU, or by pausing or refusing in the middle of one. */
const REPEATED_TESTS = 6;
const REPEATED_TESTS_PERIOD_MS = 600_000;
/** More often than anyone pauses and resumes. */
const INTENTS_PER_MINUTE = 20;
const MINUTE_MS = 60_000;
/**
 * A tab that is loading is counted on as long as it shows progress, but no longer than a minute and what a line of 32 Mbit/s
 * takes, since progress is its own word.
 */
const COUNTED_ON = { withoutProgressMs: 8_000, inAllMs: 60_000, bytesPerMs: 4_000 };

/** No assignment: epochs count from 1. */
export const NO_EPOCH = -1;

export interface PeerSessionOptions {
  peerId: string;
  /** Hash of the donor's key, or of its token if it has not proven to have one. */
  donorId: string;
  /** Hash of its token. */
  tokenId?: string;
  donor: DonorHistory;
  hello: Hello;
  address: string;
  /** Number of this visit of the tab in the cluster (RemoteTab.visit). */
  visit?: number;
  control: DonorControl;
  shardBytes: number;
  expertsPerLayer: number;
  layerIndex: ReadonlyMap<number, number>;
  /** Row format of frames if the tab supports it; otherwise, and by default, f16. */
  rowFormat?: RowFormat | undefined;
  /** Without it, everything is believed after the known-answer test. */
  trust?: Trust | undefined;
  clock?: Clock;
}

/** What a tab has done for a coordinator that is not its home; which of it was verified, all know (shareTrust). */
export interface RemoteWork {
  rows: number;
  tokens: number;
}

/** One admitted tab, from hello to goodbye: what it is to hold, what it holds, and how it performs. */
export class PeerSession implements LapPeer, PlannedTab {
  readonly peerId: string;
  readonly donorId: string;
  readonly tokenId: string;
  /** The history of its donor, shared with the donor's other tabs. */
  readonly donor: DonorHistory;
  /** Its number among the donor's tabs. */
  readonly tab: number;
  readonly address: string;
  readonly visit: number;
  readonly hello: Hello;
  readonly control: DonorControl;
  readonly sinceMs = steadyUnixMs();
  /** As `sinceMs`, by the clock of the swarm. */
  readonly joinedMs: number;
  readonly trust: PeerTrust;
  readonly promised: PeerPromise;
  retires = false;
  readonly rowFormat: RowFormat;
  readonly maxExperts: number;
  readonly maxExpertsPerLayer: number;
  #state: PeerState = 'connecting';
  /** Epoch of the assignment sent last. */
  epoch = 0;
  /** The experts of the assignment sent last. */
  assigned = new Set<ExpertIndex>();
  /** Experts that are tested and serve: a subset of `assigned`. */
  live = new Set<ExpertIndex>();
  /** Tests under way, each with the experts that serve once it is passed. A test removed from here has no effect. */
  readonly tests = new Set<Set<ExpertIndex>>();
  /** Whether any expert of it has served in this visit. */
  hasServed = false;
  /** While it lacks experts of its assignment: since when, how far it had come at the last tick, and since when no further. */
  #lacking: { sinceMs: number; progress: number; progressMs: number } | undefined;
  readonly #repeatedTests: TokenBucket;
  readonly #intents: TokenBucket;
  /** Epoch of the assignment that is completely loaded. */
  readyEpoch = NO_EPOCH;
  /** Called when other members of the cluster should know it anew. */
  onChange: () => void = () => {};
  #target = new Set<ExpertIndex>();
  /** Number of the leader's order that was carried out last (TabOrder); 0 if there was none. */
  order = 0;
  allocatedBytes = 0;
  loadedShare = 0;
  /** Of the newest assignment, as the tab tells it. */
  loadedBytes = 0;
  verifiedShare: number | null = null;
  tokensHelped = 0;
  /** What it has done for other coordinators. */
  #rowsForGuests = 0;
  tokensForGuests = 0;
  /** What its donor has done in all; undefined until that is known. */
  contribution: () => Contribution | undefined = () => undefined;
  rowsPerSecond = 0;
  /** What is wrong with it at the moment, for the console. */
  note: string | undefined;
  link: Link | undefined;
  /** The low-rank shards that it holds; undefined if it knows no adapters. */
  adapters: PeerAdapters | undefined;
  #laps: LapClient | undefined;
  #rowsAtTick = 0;
  /** Tests under way before it serves, link bytes when the first of them began, and bytes of earlier ones. */
  readonly #testMeter = { underWay: 0, bytesBefore: 0, bytes: 0 };
  #tickedMs: number;
  readonly #clock: Clock;
  readonly #options: PeerSessionOptions;

  constructor(options: PeerSessionOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.joinedMs = this.#clock.now();
    this.#tickedMs = this.joinedMs;
    const nowMs = (): number => this.#clock.now();
    this.#repeatedTests = new TokenBucket(REPEATED_TESTS, REPEATED_TESTS_PERIOD_MS, nowMs);
    this.#intents = new TokenBucket(INTENTS_PER_MINUTE, MINUTE_MS, nowMs);
    this.promised = new PeerPromise(this.#clock, options.hello.promise);
    this.peerId = options.peerId;
    this.donorId = options.donorId;
    this.tokenId = options.tokenId ?? options.donorId;
    this.donor = options.donor;
    this.tab = options.hello.tab ?? 0;
    this.address = options.address;
    this.visit = options.visit ?? 1;
    this.hello = options.hello;
    this.control = options.control;
    const { adapter, pledgeBytes } = options.hello;
    this.maxExperts = capacityInExperts(pledgeBytes, options.shardBytes);
    const bindable = Math.min(adapter.maxBufferBytes, adapter.maxStorageBindingBytes);
    // A layer may span several buffers, but an expert has to fit in one.
    this.maxExpertsPerLayer = bindable < options.shardBytes ? 0 : Number.MAX_SAFE_INTEGER;
    const { rowFormat = 'f16' } = options;
    this.rowFormat = options.hello.rowFormats?.includes(rowFormat) ? rowFormat : 'f16';
    this.trust = options.trust?.visit(options.donorId, adapter, this.rowFormat) ?? believed(this.rowFormat);
  }

  get state(): PeerState {
    return this.#state;
  }

  /** Moves to the state that PEER_TRANSITIONS gives for the event. Returns false if it gives none; nothing changes then. */
  apply(event: PeerEvent): boolean {
    const next = PEER_TRANSITIONS[this.#state][event];
    if (next === undefined) return false;
    this.#state = next;
    this.onChange();
    return true;
  }

  /** The experts that the newest plan gives it; differs from `assigned` while replicas move. */
  get target(): Set<ExpertIndex> {
    return this.#target;
  }

  set target(experts: Set<ExpertIndex>) {
    this.#target = experts;
    this.onChange();
  }

  get takesPart(): boolean {
    return takesPart(this);
  }

  /** True if it has begun, or no longer is, to rest soon. */
  noteRetires(): boolean {
    if (this.retires === this.promised.retires) return false;
    this.retires = !this.retires;
    this.onChange();
    return true;
  }

  /** It loads nothing now, and is not to blame: once it goes on, its time begins anew. */
  noteResting(): void {
    this.#lacking = undefined;
  }

  get measured(): PlacementPeer {
    const { peerId, donorId, hello, maxExpertsPerLayer } = this;
    const rttMs = this.link?.stats().rttMs ?? undefined;
    const assignmentsPerSecond = speedStep(this.#laps?.assignmentsPerSecond);
    return {
      peerId,
      donorId,
      pledgeBytes: hello.pledgeBytes,
      maxExpertsPerLayer,
      ...(rttMs !== undefined && { rttMs }),
      ...(assignmentsPerSecond !== undefined && { assignmentsPerSecond }),
      share: this.promised.share,
      trust: placementTrust(this.trust.doubt),
    };
  }

  /** Throws before the link is open. */
  get laps(): LapClient {
    if (this.#laps === undefined) throw new Error(`Peer ${this.peerId} has no link yet.`);
    return this.#laps;
  }

  get connected(): boolean {
    return this.#laps !== undefined;
  }

  attach(link: Link, laps: LapClient): void {
    this.link = link;
    this.#laps = laps;
  }

  /** Starts counting link bytes as test traffic. Every call needs one of `stopTestMeter`. */
  startTestMeter(): void {
    if (this.#testMeter.underWay++ === 0) this.#testMeter.bytesBefore = linkBytes(this.link);
  }

  stopTestMeter(): void {
    const passed = this.testBytes;
    if (--this.#testMeter.underWay === 0) this.#testMeter.bytes = passed;
  }

  /** Link bytes of tests that were made before the peer served anything, including those under way. */
  get testBytes(): number {
    const { underWay, bytesBefore, bytes } = this.#testMeter;
    return bytes + (underWay > 0 ? linkBytes(this.link) - bytesBefore : 0);
  }

  /** Counts a test that has to be made again. False if there were too many. */
  mayRepeatTest(): boolean {
    return this.#repeatedTests.take() === 0;
  }

  /** Counts a wish of its donor. False if there were too many. */
  mayIntend(): boolean {
    return this.#intents.take() === 0;
  }

  /** Takes note of which of its experts serve. Called whenever that or its assignment has changed. */
  noteLoaded(): void {
    const nowMs = this.#clock.now();
    this.hasServed ||= this.live.size > 0;
    if (this.live.size === this.assigned.size) this.#lacking = undefined;
    else this.#lacking ??= { sinceMs: nowMs, progress: 0, progressMs: nowMs };
    this.onChange();
  }

  /** Whether it has been loading for so long that others should load as well what nobody serves. */
  get doubtful(): boolean {
    if (this.#lacking === undefined) return false;
    const nowMs = this.#clock.now();
    const { sinceMs, progressMs } = this.#lacking;
    const inAllMs =
      COUNTED_ON.inAllMs + ((this.assigned.size - this.live.size) * this.#options.shardBytes) / COUNTED_ON.bytesPerMs;
    return nowMs - progressMs > COUNTED_ON.withoutProgressMs || nowMs - sinceMs > inAllMs;
  }

  /** It begins to load an assignment: with nothing loaded of it, but with no more time than it had. */
  startLoading(): void {
    this.loadedBytes = 0;
    if (this.#lacking) this.#lacking.progress = this.#progress;
  }

  get #progress(): number {
    return this.loadedBytes + (this.#laps?.testsAnswered ?? 0);
  }

  #watchLoading(nowMs: number): void {
    if (this.#lacking === undefined) return;
    const progress = this.#progress;
    if (progress > this.#lacking.progress) Object.assign(this.#lacking, { progress, progressMs: nowMs });
  }

  /** Whether it would leave with a test or a load unfinished, or with laps that it owes. */
  get wasInterrupted(): boolean {
    if (!this.connected || isStopped(this.state)) return false;
    return this.laps.failures.inARow > 0 || (!this.hasServed && this.assigned.size > 0);
  }

  /** Whether it may be given laps. */
  get serving(): boolean {
    return READY_STATES.has(this.state) && this.live.size > 0;
  }

  /** Whether it serves exactly what the newest plan gives it (possibly nothing), with nothing left to load or to give up. */
  get settled(): boolean {
    const { target, live, assigned } = this;
    return READY_STATES.has(this.state) && live.size === target.size && assigned.size === target.size;
  }

  serves(layer: number, expert: number): boolean {
    const { layerIndex, expertsPerLayer } = this.#options;
    return this.live.has(layerIndex.get(layer)! * expertsPerLayer + expert);
  }

  accepts(request: WorkItem, partial: Float32Array): boolean {
    return this.#options.trust?.accepts(this, request, partial) ?? true;
  }

  get rowsAhead(): number {
    return this.trust.rowsAhead - (this.#laps?.rowsInFlight ?? 0);
  }

  get believed(): boolean {
    return this.trust.phase !== 'quarantined';
  }

  helped(tokens: number): void {
    this.tokensHelped += tokens;
  }

  /** Time that it has computed for this coordinator, as it says, and no longer than its laps took. */
  get busySeconds(): number {
    return (this.#laps?.computedMs ?? 0) / 1000;
  }

  /** Rows that it has answered, for whichever coordinator. */
  get rows(): number {
    return (this.#laps?.rows ?? 0) + this.#rowsForGuests;
  }

  /** Credits what it has done for another coordinator. */
  workedFor({ rows, tokens }: RemoteWork): void {
    this.#rowsForGuests += rows;
    this.tokensForGuests += tokens;
    this.helped(tokens);
  }

  /** Layers of which it serves at least one expert, ascending. */
  liveLayers(): number[] {
    const { layerIndex, expertsPerLayer } = this.#options;
    const indices = new Set<number>();
    for (const expert of this.live) indices.add(Math.floor(expert / expertsPerLayer));
    return [...layerIndex].filter(([, index]) => indices.has(index)).map(([layer]) => layer);
  }

  /** Updates the rates. Called once a second. */
  tick(): void {
    const { rows } = this;
    const nowMs = this.#clock.now();
    this.#watchLoading(nowMs);
    // The time is measured, since ticks are late in a busy process.
    const rate = (1000 * (rows - this.#rowsAtTick)) / Math.max(1, nowMs - this.#tickedMs);
    this.#tickedMs = nowMs;
    // Averaged with the old value: a slow swarm has few rows a second.
    this.rowsPerSecond = (this.rowsPerSecond + rate) / 2;
    if (this.rowsPerSecond < 0.05) this.rowsPerSecond = 0;
    this.#rowsAtTick = rows;
    this.apply(this.rowsPerSecond > 0 ? 'busy' : 'idle');
  }

  standing(): Standing {
    const contribution = this.contribution();
    return {
      phase: this.state === 'gone' ? 'draining' : this.state,
      epoch: this.epoch,
      layers: this.liveLayers(),
      experts: this.live.size,
      rows: this.rows,
      rowsPerSecond: this.rowsPerSecond,
      tokensHelped: this.tokensHelped,
      ...(contribution && { contribution }),
      rttMs: this.link?.stats().rttMs ?? null,
      lapMs: this.#laps?.lapMs.quantile(0.5) ?? null,
      verifiedShare: this.verifiedShare,
    };
  }
}
