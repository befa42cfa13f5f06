import { type Config, type Coordinator } from '../../coordinator/src/index.ts';
import { startTinyCoordinator } from '../integration/tiny-coordinator.ts';
import { covered, until } from '../integration/virtual-donor.ts';
import { type LineOptions, SHORTEST_LINE } from '../tabs/line.ts';
import type { TabReport } from '../tabs/page-in-node.ts';
import type { Pace } from '../tabs/paced-backend.ts';
import { ProcessTab } from '../tabs/process-tab.ts';

const JOIN_TIMEOUT_MS = 120_000;
/** No slower than this machine is. */
export const FULL_PACE: Pace = { lapOverheadMs: 0, assignmentsPerSecond: Number.POSITIVE_INFINITY };

export interface RigOptions {
  tabs: number;
  /** Pace by tab; the last one applies to all further tabs. */
  paces?: readonly Pace[];
  pledgeBytes?: number;
  coordinator?: Partial<Config>;
}

/** What a tab did between two moments. */
export interface TabShare {
  /** Share of one core: the whole process with its WebRTC, and only its kernels. */
  cpu: number;
  kernels: number;
  laps: number;
  rows: number;
}

/** Milliseconds that the wire actually added to each lap, both ways together. */
export interface MeasuredRoundTrip {
  p50: number;
  p95: number;
}

/**
 * A coordinator in this process and tabs in separate processes (the donor page's session over socket.io and WebRTC,
 * with the kernels for donors without a GPU), behind lines with an adjustable delay.
 */
export class Rig {
  readonly coordinator: Coordinator;
  readonly tabs: readonly ProcessTab[];
  readonly #paces: readonly Pace[];

  private constructor(coordinator: Coordinator, tabs: readonly ProcessTab[], paces: readonly Pace[]) {
    this.coordinator = coordinator;
    this.tabs = tabs;
    this.#paces = paces;
  }

  static async start({
    tabs: count,
    paces = [FULL_PACE],
    pledgeBytes,
    coordinator: options,
  }: RigOptions): Promise<Rig> {
    const opening = Promise.all(Array.from({ length: count }, () => ProcessTab.open()));
    const coordinator = await startTinyCoordinator(options);
    const tabs = await opening;
    const rig = new Rig(coordinator, tabs, paces);
    for (const [i, tab] of tabs.entries()) {
      tab.lend({
        url: coordinator.url,
        pledgeBytes: pledgeBytes ?? 128 * 2 ** 20,
        seed: i + 1,
        measured: rig.#pace(i),
      });
    }
    const ready = (): boolean => coordinator.swarm.peers.length === count && covered(coordinator);
    if (count > 0) await until(`${count} tabs to serve`, ready, JOIN_TIMEOUT_MS);
    return rig;
  }

  /** Applies from now on. */
  setLine(line: LineOptions): void {
    for (const [i, tab] of this.tabs.entries()) tab.place(this.#pace(i), line);
  }

  reports(): Promise<TabReport[]> {
    return Promise.all(this.tabs.map((tab) => tab.report()));
  }

  async close(): Promise<void> {
    this.setLine(SHORTEST_LINE);
    await Promise.all(this.tabs.map((tab) => tab.close()));
    await this.coordinator.close();
  }

  #pace(tab: number): Pace {
    return this.#paces[Math.min(tab, this.#paces.length - 1)]!;
  }
}

/** Shares of each tab between two reports. */
export function tabShares(before: readonly TabReport[], after: readonly TabReport[]): TabShare[] {
  return after.map((now, i) => {
    const then = before[i]!;
    const elapsedMs = now.nowMs - then.nowMs;
    return {
      cpu: (now.cpuMs - then.cpuMs) / elapsedMs,
      kernels: (now.busyMs - then.busyMs) / elapsedMs,
      laps: now.laps - then.laps,
      rows: now.rows - then.rows,
    };
  });
}

/** Medians and 95th percentiles of both ways, added up, for the tab with the longest. */
export function roundTripOf(reports: readonly TabReport[]): MeasuredRoundTrip {
  const of = (q: 'p50' | 'p95'): number => Math.max(0, ...reports.map(({ heldMs }) => heldMs.in[q] + heldMs.out[q]));
  return { p50: of('p50'), p95: of('p95') };
}
