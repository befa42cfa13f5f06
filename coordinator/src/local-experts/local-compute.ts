import type { WorkItem } from '@shoal/model';

/** Told how long work took, without what it waited. */
export interface ComputeMeter {
  busyMs: number;
}

/**
 * Routed experts computed by the coordinator itself, from the same packed weights and the same f16 rows that tabs get:
 * slower, never absent.
 */
export interface LocalCompute {
  /**
   * Σ weight × expert(row) for each row, [numRows, hiddenSize]; a row's sum does not depend on the others. Rejects only if
   * the packed weights cannot be read, or the machine is not up to it.
   */
  compute(request: WorkItem, meter?: ComputeMeter): Promise<Float32Array>;
}
