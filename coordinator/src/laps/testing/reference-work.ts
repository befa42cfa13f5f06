import { type ExpertWeights, LocalExperts, readRows, rowRange, type SwigluWeights, type WorkItem } from '@shoal/model';
import type { LocalCompute, ComputeMeter } from '../../local-experts/local-compute.ts';

export interface ReferenceWorkOptions {
  /** Reads one expert's packed weights and unpacks them to f32. */
  read: (layer: number, expert: number) => Promise<SwigluWeights | ExpertWeights>;
  hiddenSize: number;
  /** For unpacked experts cached between laps. */
  maxBytes: number;
}

/** Assignments computed before sockets, timers and other work get their turn. */
const ASSIGNMENTS_PER_TURN = 16;

const PLAIN_EXPERTS = { activation: 'swiglu', bias: false } as const;

/** Local work in plain TypeScript and f32, on any weights that a test makes up. */
export class ReferenceWork implements LocalCompute {
  readonly #experts: LocalExperts;
  readonly #hiddenSize: number;

  constructor({ read, hiddenSize, maxBytes }: ReferenceWorkOptions) {
    this.#hiddenSize = hiddenSize;
    const load = async (layer: number, expert: number) => ({ biases: null, ...(await read(layer, expert)) });
    this.#experts = new LocalExperts({ hiddenSize, expert: PLAIN_EXPERTS }, load, { maxBytes });
  }

  /**
   * Σ weight × expert(row) for each row, [numRows, hiddenSize]. Rejects only if the packed weights cannot be read.
   * `meter` adds up the time that it took, without the turns of others.
   */
  async compute(item: WorkItem, meter?: ComputeMeter): Promise<Float32Array> {
    const D = this.#hiddenSize;
    const rows = readRows(item, D);
    const rowOf = Array.from({ length: item.numRows }, (_, row) => {
      const [from, to] = rowRange(item, row);
      return Array.from({ length: to - from }, () => row);
    }).flat();
    const partial = new Float32Array(item.numRows * D);
    for (let from = 0; from < rowOf.length; from += ASSIGNMENTS_PER_TURN) {
      const startedMs = performance.now();
      const turn = rowOf.slice(from, from + ASSIGNMENTS_PER_TURN);
      const x = new Float32Array(turn.length * D);
      for (const [i, row] of turn.entries()) x.set(rows.subarray(row * D, (row + 1) * D), i * D);
      const y = await this.#experts.run({
        layer: item.layer,
        numRows: turn.length,
        x,
        topkIdx: Int32Array.from(item.experts.subarray(from, from + turn.length)),
        topkWeights: item.weights.subarray(from, from + turn.length),
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
