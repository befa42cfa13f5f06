import type { PeerHostStats } from '@shoal/peer';
import type { AdapterInfo, HelloReply, Standing } from '@shoal/protocol';
import type { Device } from './device.ts';
import type { DownloadFigures } from './messages.ts';
import type { Problem } from './problems.ts';

/** State of a visit. `away`: the tab retries by itself; `failed`: the donor must act. Also the root element's `data-phase`. */
export type DonorPhase =
  | 'consent'
  | 'checking'
  | 'connecting'
  | 'downloading'
  | 'testing'
  | 'waiting'
  | 'working'
  | 'paused'
  | 'finishing'
  | 'finished'
  | 'away'
  | 'failed';

export type Model = Extract<HelloReply, { ok: true }>['model'];

export interface DonorState {
  phase: DonorPhase;
  /** The device that is lent, or offered. */
  device: Device;
  pledgeBytes: number;
  /** Whether the operator offers to exchange weights with other tabs. */
  offersTabToTab: boolean;
  /** What the donor allows to be sent to them, in Mbit/s; undefined: nothing is exchanged. */
  exchangeMbit: number | undefined;
  /** Whether nothing outlives the page, since the browser blocks its data. */
  keepsNothing: boolean;
  /** Weights in the browser's storage; undefined until they have been counted. */
  keptBytes: number | undefined;
  adapter: AdapterInfo | undefined;
  model: Model | undefined;
  download: DownloadFigures | undefined;
  standing: Standing | undefined;
  stats: PeerHostStats | undefined;
  /** Rows computed in each of the last HISTORY_SECONDS, oldest first. */
  rowsHistory: readonly number[];
  problem: Problem | undefined;
  /** The phase that a problem interrupted. */
  interrupted: DonorPhase | undefined;
  /** Time of the next attempt, as from performance.now(). */
  retryAtMs: number | undefined;
  /** Why the browser doesn't keep downloaded weights. */
  cacheFailure: 'quota' | 'unavailable' | undefined;
  /** Laps pass through the page because this browser can't transfer the channel to the worker. */
  relayed: boolean;
  visit: Visit;
}

/** Figures of this visit over all of its connections. */
export interface Visit {
  /** As from performance.now(). */
  startedMs: number | undefined;
  endedMs: number | undefined;
  tokensHelped: number;
  rows: number;
  /** Bytes on the lap channels, both ways. */
  wireBytes: number;
  /** Weights downloaded, without those from the cache. */
  downloadedBytes: number;
  /** The parts of these that came from a mirror and from other tabs, and what other tabs were given. */
  mirrorBytes: number;
  tabBytes: number;
  givenBytes: number;
}

const NO_VISIT: Visit = {
  startedMs: undefined,
  endedMs: undefined,
  tokensHelped: 0,
  rows: 0,
  wireBytes: 0,
  downloadedBytes: 0,
  mirrorBytes: 0,
  tabBytes: 0,
  givenBytes: 0,
};

/** Long enough to show a trend, short enough to be current. */
export const HISTORY_SECONDS = 120;

export function initialState(pledgeBytes: number, device: Device = 'gpu'): DonorState {
  return {
    phase: 'consent',
    device,
    pledgeBytes,
    offersTabToTab: false,
    exchangeMbit: undefined,
    keepsNothing: false,
    keptBytes: undefined,
    adapter: undefined,
    model: undefined,
    download: undefined,
    standing: undefined,
    stats: undefined,
    rowsHistory: [],
    problem: undefined,
    interrupted: undefined,
    retryAtMs: undefined,
    cacheFailure: undefined,
    relayed: false,
    visit: NO_VISIT,
  };
}

export function isLive(phase: DonorPhase): boolean {
  return phase === 'waiting' || phase === 'working' || phase === 'paused' || phase === 'finishing';
}

export function isJoining(phase: DonorPhase): boolean {
  return phase === 'checking' || phase === 'connecting' || phase === 'downloading' || phase === 'testing';
}

/** The phase of a tab that holds experts and is not paused. */
export function livePhase(standing: Standing | undefined): DonorPhase {
  if (standing?.phase === 'draining') return 'finishing';
  return standing?.phase === 'working' ? 'working' : 'waiting';
}
