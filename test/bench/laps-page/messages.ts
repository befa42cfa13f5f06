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
  /** Take down the moments of the laps from now on, forgetting earlier ones. */
  | { type: 'watch' }
  /** Moments of the laps since `watch`, one after the other. */
  | { type: 'moments' }
  /** Measure the kernels themselves, by the GPU's own clock, for laps like the coordinator's. */
  | { type: 'kernel'; numRows: number; topK: number; runs: number };

export type TabAnswer =
  | { type: 'done' }
  | { type: 'moments'; timeOriginMs: number; moments: LapMoments[] }
  | { type: 'kernel'; kernelMs: number[] };

/** In the order of a lap; milliseconds since the worker's time origin. */
export const LAP_MOMENTS = ['arrived', 'run', 'submit', 'submitted', 'map', 'mapped', 'send'] as const;
export type LapMoments = Record<(typeof LAP_MOMENTS)[number], number>;
