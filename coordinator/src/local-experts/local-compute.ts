import type { WorkItem } from '@shoal/model';

/** Sums up the time that work took, without its wait. */
export interface ComputeMeter {
  busyMs: number;
}

/** Routed experts computed by the coordinator, from the same packed weights and f16 rows that peers get. */
export interface LocalCompute {
  /**
   * Σ weight × expert(row) for each row, [numRows, hiddenSize]; a row's sum does not depend on the others. Rejects only if
   * the packed weights cannot be read, or memory does not suffice.
   */
  compute(item: WorkItem, meter?: ComputeMeter): Promise<Float32Array>;
}
