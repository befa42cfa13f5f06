import type { ExpertShape } from '@shoal/weights';

/** Page → worker. */
export type TabCommand =
  | {
      type: 'start';
      shape: ExpertShape;
      layers: number;
      experts: number;
      /** Put in by the page. */
      channel?: RTCDataChannel;
    }
  /** A further one for the link; not answered. */
  | { type: 'channel'; channel: RTCDataChannel }
  /** Take down the moments of the laps from now on, forgetting earlier ones. */
  | { type: 'watch' }
  /** Moments of the laps since `watch`, one after the other. */
  | { type: 'moments' }
  /** Let laps that wait go together, as the backend offers, or one by one. */
  | { type: 'together'; on: boolean }
  /** Count the bytes of typed arrays that are made in the tab's worker from now on; `counts` tells them. */
  | { type: 'count-arrays' }
  /** Take nothing down any more. */
  | { type: 'quiet' }
  /** Measure the kernels themselves, by the GPU's own clock, for laps like the coordinator's. */
  | { type: 'kernel'; numRows: number; topK: number; runs: number };

export type TabAnswer =
  | { type: 'done' }
  /** `pieces`: laps of each piece of work that went to the GPU at once. */
  | { type: 'moments'; moments: LapMoments[]; pieces: number[]; arrayBytes: number }
  | { type: 'kernel'; kernelMs: number[] };

/** In the order of a lap; milliseconds since the worker's time origin. */
export const LAP_MOMENTS = ['arrived', 'run', 'submit', 'submitted', 'map', 'mapped', 'send'] as const;
export type LapMoments = Record<(typeof LAP_MOMENTS)[number], number>;
