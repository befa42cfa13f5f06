import type { ExpertShape } from '@shoal/weights';

/** Page → worker. */
export type TabCommand =
  | {
      type: 'start';
      shape: ExpertShape;
      layers: number;
      experts: number;
      /** Filled in by the page. */
      channel?: RTCDataChannel;
    }
  /** A further channel for the link; gets no answer. */
  | { type: 'channel'; channel: RTCDataChannel }
  /** Records the moments of the laps from now on and forgets earlier ones. */
  | { type: 'watch' }
  /** Asks for the moments of the laps since `watch`, in order. */
  | { type: 'moments' }
  /** Merges waiting laps, as the backend offers, or runs them one by one. */
  | { type: 'together'; on: boolean }
  /** Counts the bytes of typed arrays made in the tab's worker from now on; `counts` reports them. */
  | { type: 'count-arrays' }
  /** Stops recording. */
  | { type: 'quiet' }
  /** Measures only the kernels, by the GPU's own clock, for laps like the coordinator's. */
  | { type: 'kernel'; numRows: number; topK: number; runs: number };

export type TabAnswer =
  | { type: 'done' }
  /** `pieces`: the number of laps in each submission to the GPU. */
  | { type: 'moments'; moments: LapMoments[]; pieces: number[]; arrayBytes: number }
  | { type: 'kernel'; kernelMs: number[] };

/** In the order of a lap; milliseconds since the worker's time origin. */
const LAP_MOMENTS = ['arrived', 'run', 'submit', 'submitted', 'map', 'mapped', 'send'] as const;
export type LapMoments = Record<(typeof LAP_MOMENTS)[number], number>;
