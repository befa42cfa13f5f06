import { type IntervalHistogram, monitorEventLoopDelay, performance } from 'node:perf_hooks';
import type { Coordinator } from '../../coordinator/src/index.ts';
import type { TabReport } from '../tabs/page-in-node.ts';
import type { EngineWatch } from './engine-watch.ts';
import { type MeasuredRoundTrip, type Rig, roundTripOf, type TabShare, tabShares } from './rig.ts';

/** What a coordinator and its tabs did between two moments. */
export interface SpanFigures {
  seconds: number;
  tokens: number;
  passes: number;
  /** Passes, each counted once per sequence in it. */
  streamPasses: number;
  laps: number;
  hedges: number;
  redispatches: number;
  /** Share of assignments that no tab served. */
  localShare: number;
  /** Shares of the time that the dense engine and the main thread worked, and cores used by the whole process. */
  engineBusy: number;
  engineIdleMs: number;
  mainThread: number;
  cores: number;
  tabs: TabShare[];
  roundTrip: MeasuredRoundTrip;
  /** Bytes on the channels (frames, message headers, heartbeats), and those that each row's distinct peers imply. */
  wireBytes: number;
  floorBytes: number;
  /** Medians and 95th percentiles of this span's laps. */
  lapMs: { p50: number; p95: number };
  lapParts: { queueMs: number; wireMs: number; computeMs: number };
  /** The event loop's delay beyond its timer's own period. */
  loopDelayP99Ms: number;
}

/** The timer's own period, which the histogram counts as delay. */
const LOOP_RESOLUTION_MS = 1;
const F16_BYTES = 2;

/** Measures from `begin` to `end`. */
export class Span {
  readonly #rig: Rig;
  readonly #watch: EngineWatch;
  readonly #loop: IntervalHistogram = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });
  readonly #before: ReturnType<typeof counters>;
  readonly #tabs: readonly TabReport[];
  readonly #startedMs = performance.now();
  readonly #busyMs: number;
  readonly #streamPasses: number;
  readonly #usage = process.cpuUsage();
  readonly #utilization = performance.eventLoopUtilization();

  private constructor(rig: Rig, watch: EngineWatch, tabs: readonly TabReport[]) {
    this.#rig = rig;
    this.#watch = watch;
    this.#tabs = tabs;
    this.#before = counters(rig.coordinator);
    this.#busyMs = watch.busyMs;
    this.#streamPasses = watch.streamPasses;
    rig.coordinator.dispatcher.figures.forgetTimings();
    this.#loop.enable();
  }

  static async begin(rig: Rig, watch: EngineWatch): Promise<Span> {
    return new Span(rig, watch, await rig.reports());
  }

  async end(): Promise<SpanFigures> {
    const elapsedMs = performance.now() - this.#startedMs;
    const { user, system } = process.cpuUsage(this.#usage);
    const { utilization } = performance.eventLoopUtilization(this.#utilization);
    this.#loop.disable();
    const busyMs = this.#watch.busyMs - this.#busyMs;
    const { dispatcher, config } = this.#rig.coordinator;
    const now = counters(this.#rig.coordinator);
    const since = (name: keyof typeof now): number => now[name] - this.#before[name];
    const reports = await this.#rig.reports();
    const work = since('tabAssignments') + since('fallbackAssignments');
    return {
      seconds: elapsedMs / 1000,
      tokens: since('tokens'),
      passes: since('passes'),
      streamPasses: this.#watch.streamPasses - this.#streamPasses,
      laps: since('laps'),
      hedges: since('hedges'),
      redispatches: since('redispatches'),
      localShare: work === 0 ? 0 : since('fallbackAssignments') / work,
      engineBusy: busyMs / elapsedMs,
      engineIdleMs: elapsedMs - busyMs,
      mainThread: utilization,
      cores: (user + system) / 1000 / elapsedMs,
      tabs: tabShares(this.#tabs, reports),
      roundTrip: roundTripOf(reports),
      wireBytes: since('wireBytes'),
      floorBytes: since('tabRowParts') * 2 * config.hiddenSize * F16_BYTES,
      lapMs: { p50: dispatcher.figures.lapMs.quantile(0.5) ?? 0, p95: dispatcher.figures.lapMs.quantile(0.95) ?? 0 },
      lapParts: {
        queueMs: dispatcher.figures.queueMs.quantile(0.5) ?? 0,
        wireMs: dispatcher.figures.wireMs.quantile(0.5) ?? 0,
        computeMs: dispatcher.figures.computeMs.quantile(0.5) ?? 0,
      },
      loopDelayP99Ms: Math.max(0, this.#loop.percentile(99) / 1e6 - LOOP_RESOLUTION_MS),
    };
  }
}

function counters({ scheduler, dispatcher, swarm }: Coordinator) {
  const { laps, hedges, redispatches, tabAssignments, fallbackAssignments, tabRowParts } = dispatcher.figures;
  const links = swarm.peers.flatMap(({ link }) => (link ? [link.stats()] : []));
  const wireBytes = links.reduce((sum, { bytesSent, bytesReceived }) => sum + bytesSent + bytesReceived, 0);
  const { tokens, passes } = scheduler;
  return { tokens, passes, laps, hedges, redispatches, tabAssignments, fallbackAssignments, tabRowParts, wireBytes };
}
