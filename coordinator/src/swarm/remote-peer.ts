import type { WorkItem } from '@shoal/model';
import type { ExpertIndex } from '@shoal/placement';
import type { RowFormat } from '@shoal/protocol';
import type { Link } from '@shoal/transport';
import type { Clock } from '../base/clock.ts';
import type { RemoteTab } from '../cluster/tab-board.ts';
import type { LapClient } from '../laps/lap-client.ts';
import type { LapPeer } from '../laps/lap-splitter.ts';
import { believed, type PeerTrust } from '../trust/peer-trust.ts';
import type { Trust, TrustedPeer } from '../trust/trust.ts';
import type { PeerSession, RemoteWork } from './peer-session.ts';
import { isStopped, READY_STATES } from './peer-state.ts';

/** Time for a tab that has changed its home to be tested by the new one, during which it serves what it had. */
const CARRIED_MS = 60_000;

export interface RemotePeerOptions {
  tab: RemoteTab;
  link: Link;
  laps: LapClient;
  rowFormat: RowFormat;
  expertsPerLayer: number;
  layerIndex: ReadonlyMap<number, number>;
  trust?: Trust | undefined;
  clock: Clock;
}

/** A tab of another coordinator to which this one has a link. Its home tests it; what it answers is audited here as well. */
export class RemotePeer implements LapPeer, TrustedPeer {
  readonly link: Link;
  readonly laps: LapClient;
  readonly trust: PeerTrust;
  /** Link bytes of known-answer tests: its home makes them. */
  readonly testBytes = 0;
  readonly #options: RemotePeerOptions;
  #tab: RemoteTab;
  #live: ReadonlySet<ExpertIndex>;
  /** What it served for its last home, while its present one has not tested it yet. */
  #carried: { experts: ReadonlySet<ExpertIndex>; untilMs: number } | undefined;
  /** Its visit here, if this coordinator has become its home. */
  #own: PeerSession | undefined;
  #tokens = 0;
  /** What has been told to its home. */
  #told: RemoteWork = { rows: 0, tokens: 0 };

  constructor(options: RemotePeerOptions) {
    const { tab, link, laps, rowFormat, trust } = options;
    this.#options = options;
    this.#tab = tab;
    this.#live = tab.live;
    this.link = link;
    this.laps = laps;
    this.trust = trust?.visit(tab.donorId, tab.adapter, rowFormat) ?? believed(rowFormat);
    // Its home lets nobody serve who has not passed probation.
    if (this.trust.phase === 'probation') this.trust.phase = 'trusted';
  }

  get peerId(): string {
    return this.#tab.peerId;
  }

  get donorId(): string {
    return this.#tab.donorId;
  }

  get address(): string {
    return this.#tab.address;
  }

  /** As its home knows it. */
  get tab(): RemoteTab {
    return this.#tab;
  }

  /** Its home knows more of it, or it has another one. */
  see(tab: RemoteTab): void {
    if (tab.peerId !== this.#tab.peerId && this.serving)
      this.#carried = { experts: this.#live, untilMs: this.#options.clock.now() + CARRIED_MS };
    if (tab.assigned.size > 0 && tab.live.size === tab.assigned.size) this.#carried = undefined;
    this.#tab = tab;
    this.#live = this.#carried ? withCarried(tab, this.#carried.experts) : tab.live;
  }

  /** This coordinator is its home now. Until its visit here has been tested, it serves over this link what it had. */
  takeOver(own: PeerSession): void {
    this.#own = own;
    this.#carried = { experts: this.#live, untilMs: this.#options.clock.now() + CARRIED_MS };
  }

  /** Counts at its visit here what it has done before. */
  tellOwn(): void {
    this.#own?.workedFor(this.takeWork());
  }

  get isTakenOver(): boolean {
    return this.#own !== undefined;
  }

  /** Whether its visit here serves all that it is to serve, or has ended, or takes too long. */
  get isReplaced(): boolean {
    if (!this.#own) return false;
    const { state, live, assigned } = this.#own;
    return state === 'gone' || !this.#carried || (live.size > 0 && live.size === assigned.size);
  }

  /** Whether it may be given laps. */
  get serving(): boolean {
    if (this.#carried && this.#carried.untilMs <= this.#options.clock.now()) {
      this.#carried = undefined;
      this.#live = this.#tab.live;
    }
    const { state } = this.#own ?? this.#tab;
    const isReady = this.#carried ? !isStopped(state) && state !== 'gone' : READY_STATES.has(state);
    return isReady && this.#live.size > 0 && this.believed;
  }

  /** Experts that it serves. */
  get live(): ReadonlySet<ExpertIndex> {
    return this.#live;
  }

  serves(layer: number, expert: number): boolean {
    const { layerIndex, expertsPerLayer } = this.#options;
    const index = layerIndex.get(layer)! * expertsPerLayer + expert;
    if (!this.#live.has(index)) return false;
    if (!this.#own) return true;
    const { live, assigned } = this.#own;
    return !live.has(index) && (assigned.size === 0 || assigned.has(index));
  }

  accepts(request: WorkItem, partial: Float32Array): boolean {
    return this.#options.trust?.accepts(this, request, partial) ?? true;
  }

  get rowsAhead(): number {
    return this.trust.rowsAhead - this.laps.rowsInFlight;
  }

  get believed(): boolean {
    return this.trust.phase !== 'quarantined';
  }

  helped(tokens: number): void {
    this.#tokens += tokens;
  }

  /** What it has done since the last call, for its home to count. */
  takeWork(): RemoteWork {
    const before = this.#told;
    this.#told = { rows: this.laps.rows, tokens: this.#tokens };
    return { rows: this.#told.rows - before.rows, tokens: this.#told.tokens - before.tokens };
  }
}

/** What a tab serves with which its present home is not done yet: what it had, as far as it is to keep it. */
function withCarried({ live, assigned }: RemoteTab, carried: ReadonlySet<ExpertIndex>): ReadonlySet<ExpertIndex> {
  const kept = assigned.size === 0 ? carried : [...carried].filter((expert) => assigned.has(expert));
  return new Set([...live, ...kept]);
}
