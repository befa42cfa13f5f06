import type { EventEmitter } from 'node:events';
import type { ExpertIndex } from '@shoal/placement';
import type { AdapterInfo, PeerState, RowFormat } from '@shoal/protocol';

/** What a tab's home lets the other members know of it. */
export interface TabView {
  /** Unique in the cluster. */
  readonly peerId: string;
  readonly donorId: string;
  /** Its number among the donor's tabs: (donorId, tab) is one tab, whichever its home. */
  readonly tab: number;
  /** Counts the visits of (donorId, tab) as far as its home knows them: the newest one is the tab. */
  readonly visit: number;
  readonly address: string;
  readonly adapter: AdapterInfo;
  readonly rowFormat: RowFormat;
  /** Experts that fit in the memory it lends, and those of one layer that its GPU can bind. */
  readonly maxExperts: number;
  readonly maxExpertsPerLayer: number;
  readonly pledgeBytes: number;
  /** Coordinators that it serves at once, its home among them; 1 for a page that knows no guests. */
  readonly maxCoordinators: number;
  readonly state: PeerState;
  /** Of the assignment that its home sent last. */
  readonly epoch: number;
  readonly assigned: ReadonlySet<ExpertIndex>;
  /** Those of `assigned` that are tested and serve. */
  readonly live: ReadonlySet<ExpertIndex>;
  readonly target: ReadonlySet<ExpertIndex>;
  /** While it is assigned nothing: what its browser still has, most recent first. */
  readonly kept: readonly ExpertIndex[];
  /** Number of the last order of the leader that its home has carried out; 0 if there was none. */
  readonly order: number;
  /** Whether its lap channel is open. */
  readonly connected: boolean;
  /** It has been loading for so long that others should load as well what nobody serves. */
  readonly doubtful: boolean;
  /** Its donor's limits have it rest soon, and others are to have its experts by then. */
  readonly retires: boolean;
  /** Share of the time that it computes, by its donor's limits. */
  readonly share: number;
  readonly trust: TrustView;
  /** Coarse, so that a tab's row doesn't change all the time; undefined until measured. */
  readonly rttMs: number | undefined;
  readonly assignmentsPerSecond: number | undefined;
}

export interface TrustView {
  readonly phase: 'probation' | 'trusted' | 'quarantined';
  /** Rounded down to a power of two, as are verified rows. */
  readonly consecutiveRight: number;
  readonly verifiedRows: number;
}

/** A tab whose home is another member. */
export interface RemoteTab extends TabView {
  readonly home: string;
  /**
   * Whether its home has ended. Its links to other members may still work; within seconds it either has another home (and with it
   * another peerId), or is `gone`.
   */
  readonly isHomeless: boolean;
}

/** What a member lets the others know of itself. */
export interface HomeView {
  /** The leader whose orders its tabs follow; undefined while it plans for them alone. */
  readonly follows: string | undefined;
  /** Counts the changes of `follows`: an order is valid only in the regime for which it was made. */
  readonly regime: number;
}

/** An own tab, as it is when it is written. */
export interface PublishedTab {
  readonly peerId: string;
  view(): TabView;
}

/** What every member knows of all tabs: it publishes its own, and reads the others'. */
export interface TabBoard {
  /** All remote tabs, each (donorId, tab) once. */
  remote(): Iterable<RemoteTab>;
  of(peerId: string): RemoteTab | undefined;
  /** The newest visit of a tab elsewhere. */
  ofTab(donorId: string, tab: number): RemoteTab | undefined;
  /** Of the other members. What is read of a member's tabs is never older than this. */
  home(member: string): HomeView | undefined;
  /**
   * `changed`: a remote tab is new, or its view is another object now. `gone`: it has left, or its newest visit is another one.
   * `read`: after a batch of these.
   */
  readonly events: EventEmitter<{ changed: [tab: RemoteTab]; gone: [tab: RemoteTab]; read: [] }>;
  /** An own tab is new or has changed. Never waits or throws: it is written with the next batch. */
  publish(tab: PublishedTab): void;
  /** An own tab has left. */
  withdraw(peerId: string): void;
  publishHome(view: HomeView): void;
  /** Writes no more. */
  close(): void;
}
