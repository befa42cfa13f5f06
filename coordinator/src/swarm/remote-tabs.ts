import type { LapPeer } from '../laps/lap-splitter.ts';

/** A tab of another coordinator to which this one has a link. */
export interface RemoteLapPeer extends LapPeer {
  /** Hash of its donor's token. */
  readonly donorId: string;
  /** Its number among the donor's tabs: with the donor it names the tab, whoever its home is. */
  readonly tab: number;
  /** The member that it signals with. */
  readonly home: string;
}

/** The tabs of other coordinators, as far as this one has links to them. */
export interface RemoteTabs {
  /** Those that may be given laps now. */
  serving(): Iterable<RemoteLapPeer>;
  /** There are answers to compute: opens links to the tabs whose experts they need, and keeps those that it uses. */
  work(): void;
  /** Ends the links to all tabs of a donor that was quarantined, here or elsewhere. */
  expel(donorId: string): void;
  /** Ends all links. */
  close(): void;
}
