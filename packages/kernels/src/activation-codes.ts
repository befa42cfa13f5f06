import type { ExpertActivation } from '@shoal/model';

/** Numbers of the kinds of experts in the WebAssembly and in the shaders. Those from 3 on have no gate matrix. */
export const ACTIVATION_CODES: Readonly<Record<ExpertActivation, number>> = {
  swiglu: 0,
  'clamped-swiglu': 1,
  geglu: 2,
  relu: 3,
  relu2: 4,
  gelu: 5,
};
