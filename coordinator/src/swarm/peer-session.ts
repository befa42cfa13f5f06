import type { ExpertIndex, PlacementPeer } from '@shoal/placement';
import type { Assign, Dismissed, Hello, PeerState, RowFormat, Standing } from '@shoal/protocol';
import type { Link } from '@shoal/transport';
import { type Clock, systemClock } from '../base/clock.ts';
import type { WorkItem } from '@shoal/model';
import type { LapClient } from '../laps/lap-client.ts';
import type { LapPeer } from '../laps/lap-splitter.ts';
import type { DonorHistory } from './donor-records.ts';
import { believed, type PeerTrust } from '../trust/peer-trust.ts';
import type { Trust } from '../trust/trust.ts';
import { linkBytes } from './wire-meter.ts';

/** Of no assignment: they count from 1. */
export const NO_EPOCH = -1;

/** What the coordinator says to a donor's page; a socket in earnest, an object in tests. */
export interface DonorControl {
  assign(message: Assign): void;
  standing(message: Standing): void;
  /** The last message; the connection is closed after it. */
  dismiss(message: Dismissed): void;
}

export interface PeerSessionOptions {
  peerId: string;
  /** A hash of the donor's token: who lends, without the secret. */
  donorId: string;
  donor: DonorHistory;
  hello: Hello;
  address: string;
  control: DonorControl;
  shardBytes: number;
  expertsPerLayer: number;
  layerIndex: ReadonlyMap<number, number>;
  /** How frames carry rows, if the tab knows the format; else, and by default, f16. */
  rowFormat?: RowFormat | undefined;
  /** Decides what of its work is believed; without it all of it is, once the self-test is passed. */
  trust?: Trust | undefined;
  clock?: Clock;
}

/** One admitted tab, from hello to goodbye: what it is to hold, what it does hold, and how it has done. */
export class PeerSession implements LapPeer {
  readonly peerId: string;
  readonly donorId: string;
  /** What all tabs of its donor have done, and held. */
  readonly donor: DonorHistory;
  /** Which of its donor's tabs it is. */
  readonly tab: number;
  readonly address: string;
  readonly hello: Hello;
  readonly control: DonorControl;
  readonly sinceMs = Date.now();
  readonly trust: PeerTrust;
  /** How rows travel to it and back. */
  readonly rowFormat: RowFormat;
  state: PeerState = 'connecting';
  /** The assignment sent last: its epoch, and the experts in it. */
  epoch = 0;
  assigned = new Set<ExpertIndex>();
  /** Tested and serving: a subset of `assigned`. */
  live = new Set<ExpertIndex>();
  /** Self-tests under way, each with the experts that serve when it is passed. One that is taken out of here counts for nothing. */
  readonly tests = new Set<Set<ExpertIndex>>();
  /** The epoch of the assignment that it has wholly loaded. */
  readyEpoch = NO_EPOCH;
  /** What the newest plan wants it to hold in the end; differs from `assigned` while replicas move. */
  target = new Set<ExpertIndex>();
  allocatedBytes = 0;
  loadedShare = 0;
  verifiedShare: number | null = null;
  tokensHelped = 0;
  rowsPerSecond = 0;
  note: string | undefined;
  link: Link | undefined;
  #laps: LapClient | undefined;
  #rowsAtTick = 0;
  /** Tests under way before it serves, what had passed its link when the first of them began, and what passed in earlier ones. */
  readonly #entryTests = { underWay: 0, bytesBefore: 0, bytes: 0 };
  #tickedMs: number;
  readonly #clock: Clock;
  readonly #options: PeerSessionOptions;

  constructor(options: PeerSessionOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#tickedMs = this.#clock.now();
    this.peerId = options.peerId;
    this.donorId = options.donorId;
    this.donor = options.donor;
    this.tab = options.hello.tab ?? 0;
    this.address = options.address;
    this.hello = options.hello;
    this.control = options.control;
    const { rowFormat = 'f16' } = options;
    this.rowFormat = options.hello.rowFormats?.includes(rowFormat) ? rowFormat : 'f16';
    this.trust =
      options.trust?.visit(options.donorId, options.hello.adapter, this.rowFormat) ?? believed(this.rowFormat);
  }

  /** Its laps; there are none before the link is open. */
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

  /** A test of it begins before it serves anything; to be ended by `endEntryTest`. */
  beginEntryTest(): void {
    if (this.#entryTests.underWay++ === 0) this.#entryTests.bytesBefore = linkBytes(this.link);
  }

  endEntryTest(): void {
    const passed = this.testBytes;
    if (--this.#entryTests.underWay === 0) this.#entryTests.bytes = passed;
  }

  /** That passed its link while it was tested and did not serve yet; of a test under way, until now. */
  get testBytes(): number {
    const { underWay, bytesBefore, bytes } = this.#entryTests;
    return bytes + (underWay > 0 ? linkBytes(this.link) - bytesBefore : 0);
  }

  /** Whether it may be given laps at all. A draining peer serves until others have taken over. */
  get serving(): boolean {
    return (this.state === 'working' || this.state === 'waiting' || this.state === 'draining') && this.live.size > 0;
  }

  /** Whether it serves just what the newest plan wants of it (nothing, in a swarm with tabs to spare), with nothing left to load or to give up. */
  get settled(): boolean {
    const ready = this.state === 'working' || this.state === 'waiting' || this.state === 'draining';
    return ready && this.live.size === this.target.size && this.assigned.size === this.target.size;
  }

  serves(layer: number, expert: number): boolean {
    const { layerIndex, expertsPerLayer } = this.#options;
    return this.live.has(layerIndex.get(layer)! * expertsPerLayer + expert);
  }

  accepts(request: WorkItem, partial: Uint16Array): boolean {
    return this.#options.trust?.accepts(this, request, partial) ?? true;
  }

  get believed(): boolean {
    return this.trust.phase !== 'quarantined';
  }

  helped(tokens: number): void {
    this.tokensHelped += tokens;
    this.donor.tokensHelped += tokens;
  }

  placementPeer(): PlacementPeer {
    const { adapter, pledgeBytes } = this.hello;
    const bindable = Math.min(adapter.maxBufferBytes, adapter.maxStorageBindingBytes);
    return {
      peerId: this.peerId,
      donorId: this.donorId,
      pledgeBytes,
      // A layer may take several buffers; an expert must fit in one.
      maxExpertsPerLayer: bindable < this.#options.shardBytes ? 0 : Number.MAX_SAFE_INTEGER,
    };
  }

  /** Layers of which it serves at least one expert, ascending. */
  liveLayers(): number[] {
    const { layerIndex, expertsPerLayer } = this.#options;
    const indices = new Set<number>();
    for (const expert of this.live) indices.add(Math.floor(expert / expertsPerLayer));
    const layers: number[] = [];
    for (const [layer, index] of layerIndex) if (indices.has(index)) layers.push(layer);
    return layers;
  }

  /** Once a second: refresh what is shown per second. */
  tick(): void {
    const rows = this.#laps?.rows ?? 0;
    const nowMs = this.#clock.now();
    // Measured, since a busy process ticks late.
    const rate = (1000 * (rows - this.#rowsAtTick)) / Math.max(1, nowMs - this.#tickedMs);
    this.#tickedMs = nowMs;
    // A second is short for a slow swarm: half of the old value smooths it.
    this.rowsPerSecond = (this.rowsPerSecond + rate) / 2;
    if (this.rowsPerSecond < 0.05) this.rowsPerSecond = 0;
    this.#rowsAtTick = rows;
    if (this.state === 'working' && this.rowsPerSecond === 0) this.state = 'waiting';
    else if (this.state === 'waiting' && this.rowsPerSecond > 0) this.state = 'working';
  }

  standing(): Standing {
    const phase = this.state === 'gone' ? 'draining' : this.state;
    return {
      phase,
      epoch: this.epoch,
      layers: this.liveLayers(),
      experts: this.live.size,
      rows: this.#laps?.rows ?? 0,
      rowsPerSecond: this.rowsPerSecond,
      tokensHelped: this.tokensHelped,
      tokensHelpedTotal: this.donor.tokensHelped,
      rttMs: this.link?.stats().rttMs ?? null,
      lapMs: this.#laps?.lapMs.quantile(0.5) ?? null,
      verifiedShare: this.verifiedShare,
      verifiedRows: this.trust.record.verifiedRows,
    };
  }
}
