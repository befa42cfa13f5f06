import type { PeerHostStats } from '@shoal/peer';
import type { AdapterInfo, HelloReply, Standing } from '@shoal/protocol';
import type { Device } from './device.ts';
import type { DownloadFigures } from './messages.ts';
import type { Problem } from './problems.ts';

/**
 * Where a visit stands. `away`: it comes back by itself; `failed`: only the donor can do something about it.
 * Shown as `data-phase` on the document's root.
 */
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
  /** What is lent, or would be. */
  device: Device;
  pledgeBytes: number;
  /** Weights in the browser's storage; undefined before they were counted. */
  keptBytes: number | undefined;
  adapter: AdapterInfo | undefined;
  model: Model | undefined;
  download: DownloadFigures | undefined;
  standing: Standing | undefined;
  stats: PeerHostStats | undefined;
  /** Rows computed in each of the last seconds, oldest first. */
  rowsHistory: readonly number[];
  problem: Problem | undefined;
  /** The phase that a problem interrupted. */
  interrupted: DonorPhase | undefined;
  /** When the next attempt comes, as Date.now() counts. */
  retryAtMs: number | undefined;
  /** The browser doesn't keep what is downloaded. */
  cacheFailure: 'quota' | 'unavailable' | undefined;
  /** Laps pass through the page, since this browser can't hand the channel to the worker. */
  relayed: boolean;
  visit: Visit;
}

/** Figures of this visit over all its connections: the coordinator counts each connection anew. */
export interface Visit {
  /** As Date.now() counts. */
  startedMs: number | undefined;
  endedMs: number | undefined;
  tokensHelped: number;
  rows: number;
  /** Over the lap channel, both ways. */
  wireBytes: number;
  /** Weights downloaded, not counting what was kept from before. */
  downloadedBytes: number;
}

/** Long enough to see a trend, short enough to be about now. */
export const HISTORY_SECONDS = 120;

export function initialState(pledgeBytes: number, device: Device = 'gpu'): DonorState {
  return {
    phase: 'consent',
    device,
    pledgeBytes,
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
    visit: { startedMs: undefined, endedMs: undefined, tokensHelped: 0, rows: 0, wireBytes: 0, downloadedBytes: 0 },
  };
}

export function isLive(phase: DonorPhase): boolean {
  return phase === 'waiting' || phase === 'working' || phase === 'paused' || phase === 'finishing';
}

export function isJoining(phase: DonorPhase): boolean {
  return phase === 'checking' || phase === 'connecting' || phase === 'downloading' || phase === 'testing';
}
