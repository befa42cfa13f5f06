import { SampleWindow } from '../base/sample-window.ts';
import type { LapTiming } from './lap.ts';

/** What a dispatcher counts and measures, since start. */
export class LapFigures {
  /** Dispatches and combines of one layer and micro-batch. */
  laps = 0;
  /** Parts of laps that one peer each was asked for, without those of hedges and of peers on trial. */
  asks = 0;
  /** Parts that a replica was asked for as well, because the first peer was late. */
  hedges = 0;
  /** Parts that others computed as well, because the peer that was asked may not answer (`LapClient.trial`). */
  trials = 0;
  /** Parts that the coordinator began to compute, because a peer took too long. */
  standIns = 0;
  redispatches = 0;
  /** (row, expert) assignments that peers computed, and that the coordinator did because no peer could. */
  tabAssignments = 0;
  fallbackAssignments = 0;
  /** Those of both that adapters add to. */
  tabAdapted = 0;
  fallbackAdapted = 0;
  /** Assignments in layers that the coordinator holds by plan: the main model's, and the drafter's. */
  localLayerAssignments = 0;
  draftAssignments = 0;
  /** Rows × layers whose experts were chosen under a device limit, and those where it changed the choice. */
  limitedChoices = 0;
  changedChoices = 0;
  /** Rows × layers that peers worked for, and rows × layers × peers: their ratio is the distinct peers of a row's lap. */
  tabRows = 0;
  tabRowParts = 0;
  /** Bytes of lap frames of all peers, both ways, without known-answer tests and audits. */
  frameBytes = 0;
  /** By layer: [nRoutedExperts] rows. */
  readonly expertRows = new Map<number, Float64Array>();
  readonly lapMs = new SampleWindow(1024);
  /** (row, expert) assignments of the same laps. */
  readonly lapAssignments = new SampleWindow(1024);
  readonly queueMs = new SampleWindow(1024);
  readonly computeMs = new SampleWindow(1024);
  readonly wireMs = new SampleWindow(1024);
  /** From the call to its sum, in the main model's layers that the coordinator holds by plan. */
  readonly localLayerMs = new SampleWindow(1024);
  readonly #nRoutedExperts: number;

  constructor(nRoutedExperts: number) {
    this.#nRoutedExperts = nRoutedExperts;
  }

  /** Rows of each expert, [layers × nRoutedExperts]. */
  expertCounters(layers: readonly number[]): Float64Array {
    const counters = new Float64Array(layers.length * this.#nRoutedExperts);
    for (const [i, layer] of layers.entries()) {
      const rows = this.expertRows.get(layer);
      if (rows) counters.set(rows, i * this.#nRoutedExperts);
    }
    return counters;
  }

  /** Empties the windows of times, so that a measurement has only its own. */
  forgetTimings(): void {
    const { lapAssignments } = this;
    for (const window of [this.lapMs, lapAssignments, this.queueMs, this.wireMs, this.computeMs, this.localLayerMs])
      window.clear();
  }

  /** Counts the experts that a call asks for. */
  countExperts({ layer, experts }: { layer: number; experts: ArrayLike<number> }): void {
    let counts = this.expertRows.get(layer);
    if (counts === undefined) this.expertRows.set(layer, (counts = new Float64Array(this.#nRoutedExperts)));
    for (let a = 0; a < experts.length; a++) counts[experts[a]!]!++;
  }

  /** Adds the time of a lap with its assignments, and of its slowest part, with which it ended. */
  addLap(lapMs: number, assignments: number, { lapMs: partMs, queueMs, computeMs }: LapTiming): void {
    this.lapMs.add(lapMs);
    this.lapAssignments.add(assignments);
    this.queueMs.add(queueMs);
    this.computeMs.add(computeMs);
    this.wireMs.add(partMs - queueMs - computeMs);
  }
}

/** (row, expert) assignments of answers, on tabs and on the coordinator. */
export function answerWork(
  figures: Pick<LapFigures, 'tabAssignments' | 'fallbackAssignments' | 'localLayerAssignments'>,
): number {
  return figures.tabAssignments + figures.fallbackAssignments + figures.localLayerAssignments;
}
