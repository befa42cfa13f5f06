import type { MoeCall } from '@shoal/model';
import { SampleWindow } from '../base/sample-window.ts';

/** What a dispatcher counts and measures, since start. */
export class LapFigures {
  /** Laps (dispatch and combine of one layer and batch) since start. */
  laps = 0;
  /** Row × expert work since start: by tabs, and by the coordinator because no tab did it. */
  tabAssignments = 0;
  fallbackAssignments = 0;
  /** The same of resident layers, those of the main model and the drafter's. */
  localLayerAssignments = 0;
  draftAssignments = 0;
  redispatches = 0;
  /** Rows × layers whose experts were chosen under a device limit, and those where it changed the choice. */
  limitedChoices = 0;
  changedChoices = 0;
  /** Rows × layers that at least one tab worked for, and rows × layers × tabs: their ratio is the distinct tabs per lap of a row. */
  tabRows = 0;
  tabRowParts = 0;
  /** Bytes of lap frames both ways, of all peers, since start; self-tests and audits are not in it. */
  frameBytes = 0;
  /** By layer: [nRoutedExperts] rows since start. */
  readonly expertRows = new Map<number, Float64Array>();
  readonly lapMs = new SampleWindow(1024);
  readonly queueMs = new SampleWindow(1024);
  readonly computeMs = new SampleWindow(1024);
  readonly wireMs = new SampleWindow(1024);
  /** Of resident layers of the main model: from the call to its sum. */
  readonly localLayerMs = new SampleWindow(1024);

  /** Begin the windows of lap times anew, so that a measurement has only its own. */
  forgetTimings(): void {
    for (const window of [this.lapMs, this.queueMs, this.wireMs, this.computeMs, this.localLayerMs]) window.clear();
  }

  /** Which experts a call asks for. */
  protected countLoad({ layer, topkIdx }: MoeCall, nRoutedExperts: number): void {
    let counts = this.expertRows.get(layer);
    if (counts === undefined) {
      counts = new Float64Array(nRoutedExperts);
      this.expertRows.set(layer, counts);
    }
    for (const expert of topkIdx) counts[expert]!++;
  }
}

/** Rows of each expert since start: [layers × experts]. */
export function expertCounters(
  { expertRows }: Pick<LapFigures, 'expertRows'>,
  layers: readonly number[],
  expertsPerLayer: number,
): Float64Array {
  const counters = new Float64Array(layers.length * expertsPerLayer);
  for (const [i, layer] of layers.entries()) {
    const rows = expertRows.get(layer);
    if (rows) counters.set(rows, i * expertsPerLayer);
  }
  return counters;
}
