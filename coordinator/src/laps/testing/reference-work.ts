import { decodeF16, LocalExperts, type SwigluWeights, type WorkItem } from '@shoal/model';
import type { LocalCompute, ComputeMeter } from '../../local-experts/local-compute.ts';

export interface ReferenceWorkOptions {
  /** Reads one expert's packed weights and unpacks them to f32. */
  read: (layer: number, expert: number) => Promise<SwigluWeights>;
  hiddenSize: number;
  /** Unpacked experts kept between laps. */
  maxBytes: number;
}

/** (row, expert) assignments computed before sockets, timers and other requests get their turn. */
const ASSIGNMENTS_PER_TURN = 16;

/** Local work in plain TypeScript and f32, on any weights that a test makes up: what the expert worker is held against. */
export class ReferenceWork implements LocalCompute {
  readonly #experts: LocalExperts;
  readonly #hiddenSize: number;

  constructor({ read, hiddenSize, maxBytes }: ReferenceWorkOptions) {
    this.#hiddenSize = hiddenSize;
    this.#experts = new LocalExperts({ hiddenSize, numExpertsPerTok: 1 }, read, { maxBytes });
  }

  /**
   * Σ weight × expert(row) for each row, [numRows, hiddenSize]. Rejects only if the packed weights cannot be read.
   * `meter` is told of the time that it took without that in which others had their turn.
   */
  async compute(request: WorkItem, meter?: ComputeMeter): Promise<Float32Array> {
    const D = this.#hiddenSize;
    const rows = decodeF16(request.rows);
    const rowOf = rowOfAssignment(request.rowEnd);
    const partial = new Float32Array(request.numRows * D);
    for (let from = 0; from < rowOf.length; from += ASSIGNMENTS_PER_TURN) {
      const startedMs = performance.now();
      const turn = rowOf.slice(from, from + ASSIGNMENTS_PER_TURN);
      const x = new Float32Array(turn.length * D);
      for (const [i, row] of turn.entries()) x.set(rows.subarray(row * D, (row + 1) * D), i * D);
      const y = await this.#experts.run({
        layer: request.layer,
        numRows: turn.length,
        x,
        topkIdx: request.experts.subarray(from, from + turn.length),
        topkWeights: request.weights.subarray(from, from + turn.length),
      });
      for (const [i, row] of turn.entries()) {
        for (let d = 0; d < D; d++) partial[row * D + d]! += y[i * D + d]!;
      }
      if (meter) meter.busyMs += performance.now() - startedMs;
      await new Promise(setImmediate);
    }
    return partial;
  }
}

/** rowEnd [numRows] → [numAssignments] */
function rowOfAssignment(rowEnd: Uint16Array): number[] {
  const rowOf: number[] = [];
  for (const [row, end] of rowEnd.entries()) while (rowOf.length < end) rowOf.push(row);
  return rowOf;
}
