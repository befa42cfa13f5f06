import type { PassName } from '../timeline/timeline.ts';
import type { RowAdapters } from './adapted.ts';
import type { LapTrace } from './lap.ts';

/** What a pass asks for besides its sums. */
export interface BatchOptions {
  /** The pass that the laps belong to, for the timeline. */
  pass?: PassName | undefined;
  /** Called for each row when its lap is combined. */
  trace?: TraceSink | undefined;
  /** The number of peers that a row may use in a layer (device-limited routing), or undefined for no limit. */
  maxPeers?: ((row: number) => number | undefined) | undefined;
  /** Called for each row and layer whose choice was made under a limit. */
  onLimited?: ((row: number, changed: boolean) => void) | undefined;
  /** What is added to a row's experts, on tabs that hold it or else in the coordinator. */
  adapters?: RowAdapters | undefined;
}

export type TraceSink = (row: number, trace: LapTrace) => void;
