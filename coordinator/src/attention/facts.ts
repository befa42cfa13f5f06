import type { Severity } from '@shoal/protocol';

/** What the rules look at: the state of one coordinator and of the swarm as it sees it, without anything to compute. */
export interface Facts {
  /** Milliseconds that never go back, and what it was at the start. */
  nowMs: number;
  startedMs: number;
  tabs: TabFacts;
  coverage: CoverageFacts;
  recent: RecentFacts;
  speed: SpeedFacts;
  machine: MachineFacts;
}

export interface TabFacts {
  /** By what they do. `resting` tabs keep a promise that their donors made, so they are no trouble. */
  serving: number;
  joining: number;
  paused: number;
  resting: number;
  /** Connected without experts. */
  spare: number;
  /** Tabs that something is the matter with. */
  troubled: readonly { peerId: string; note: string }[];
  /** Tabs that left after they had served, newest last; those of the last ten minutes at least. */
  left: readonly { atMs: number }[];
  /** Donors whose wrong results were confirmed, newest last. */
  wrong: readonly { atMs: number; peerId: string; what: string }[];
}

export interface CoverageFacts {
  /** On tabs by plan: layers × experts. */
  experts: number;
  /** Those that no serving tab holds, and those that fewer hold than are asked for. */
  uncovered: number;
  short: number;
  /** Copies that the operator asks for (`--replicas`). */
  replicas: number;
  /** Donors (browsers) whose tabs serve. */
  donors: number;
  /** The one whose end would leave most experts on no tab, and how many; null without tabs. */
  heaviestDonor: { tab: string; alone: number } | null;
  /** The same of one address that is not this machine's own; null where there is only one, or none. */
  heaviestAddress: { address: string; alone: number } | null;
}

/** Of the last minutes. */
export interface RecentFacts {
  /** First tokens of the last ten minutes. */
  firstTokens: { count: number; p95Ms: number | null };
  /** (row, expert) products for answers of the last five minutes, while tabs served: all, and those that no tab could do. */
  work: { all: number; fallback: number };
  /** Requests refused in the last five minutes because the queue was full. */
  refused: number;
}

export interface SpeedFacts {
  /** Median of recent laps by tabs, in milliseconds, and of the (row, expert) products that one has; null before enough laps. */
  lap: { ms: number; assignments: number } | null;
  /** Milliseconds that one product takes this coordinator, as it last computed some itself; null if it has not. */
  ownMsPerAssignment: number | null;
  /** Median of the dense engine's time for one pass in milliseconds, and laps of a pass. */
  engineMs: number | null;
  lapsPerPass: number;
  /** Whether it has room for all experts (`--expert-memory`): without, computing alone reads them from disk each time. */
  hasRoomForAll: boolean;
  /** What `--local-experts` needs to hold all of them. */
  allExpertsBytes: number;
}

export interface MachineFacts {
  /** Files of the packed model that are damaged beyond mending. */
  damagedFiles: number;
  /** Undefined without a database. */
  database: { awayForMs: number; waitingRows: number; lostRows: number } | undefined;
  /** Directories that are written to, and what is free there. */
  disks: readonly { what: string; dir: string; freeBytes: number }[];
  /** Of the address that people open (`--public-url`); undefined if it is not known or has no TLS. */
  certificate: CertificateFacts | undefined;
  /** This machine's clock less the other's, in milliseconds; null where it is not known. */
  clock: { databaseMs: number | null; tabsMs: number | null };
  /** Other coordinators that ended and are not back, newest last. */
  membersGone: readonly { name: string; atMs: number }[];
}

export type CertificateFacts =
  /** Of the certificate: its end and its whole life, by this machine's clock. */
  { host: string; leftMs: number; lifeMs: number } | { host: string; fault: string };

/** What a rule has found. */
export interface Found {
  severity: Severity;
  text: string;
  remedy: string;
  href: string;
}

/** One thing that can be the matter. */
export interface Rule {
  name: string;
  /** Whether all coordinators of a cluster see the same condition, or it is one's own. */
  about: 'swarm' | 'coordinator';
  /** For how long it must hold before anybody is shown it, and must be gone before it is taken away: nothing is to flap. */
  raiseAfterMs: number;
  clearAfterMs: number;
  /**
   * What is the matter, if anything. `isRaised`: whether it is being shown; a threshold is then a little lower, for the same
   * reason.
   */
  check: (facts: Facts, isRaised: boolean) => Found | undefined;
}

export const SECOND_MS = 1_000;
export const MINUTE_MS = 60_000;
export const DAY_MS = 86_400_000;

export const counted = (count: number, noun: string, nouns = `${noun}s`): string =>
  `${count.toLocaleString('en-GB')} ${count === 1 ? noun : nouns}`;
