import type { ExpertBackend, ExpertShape, WorkItem } from '@shoal/kernels';
import { readRows } from '@shoal/model';
import { itemRows, roundedRows } from '@shoal/protocol';
import { shardLayout } from '@shoal/weights';
import { type Bounds, compareRow } from '../../coordinator/src/trust/compare.ts';

const NO_BOUNDS = { maxRelativeL2: 2 ** 20, maxNormDeviation: 2 ** 20, rowFormat: 'f16' } as const;
/** int8 reports only what rounding, with the range that these bounds allow, does not explain. */
export const INT8_BOUNDS = { maxRelativeL2: 1e-3, maxNormDeviation: 1e-3, rowFormat: 'int8' } as const;

/** How far one row of an honest answer is from the coordinator's own. */
export interface Measured {
  relativeL2: number;
  normDeviation: number;
  /** `relativeL2` of the sums before they were rounded for the wire. */
  beforeWire: number;
}

/** Each row of each lap's answer by a backend, as it comes over the wire, beside what is expected. */
export async function measureDistances(
  backend: ExpertBackend,
  laps: readonly WorkItem[],
  expectedOf: (lap: WorkItem) => Promise<Float32Array>,
  bounds: Bounds = NO_BOUNDS,
): Promise<Measured[]> {
  const D = backend.shape.hiddenSize;
  const all: Measured[] = [];
  for (const each of laps) {
    const lap = { ...each, ...itemRows(bounds.rowFormat, readRows(each, D), D) };
    const [{ partial }, expected] = await Promise.all([backend.run(lap), expectedOf(lap)]);
    const wire = roundedRows(bounds.rowFormat, partial, D);
    for (let row = 0; row < lap.numRows; row++) {
      const of = (array: Float32Array): Float32Array => array.subarray(row * D, (row + 1) * D);
      const { relativeL2, normDeviation } = compareRow(of(wire), of(expected), bounds);
      const before = compareRow(of(partial), of(expected), NO_BOUNDS);
      all.push({ relativeL2, normDeviation, beforeWire: before.relativeL2 });
    }
  }
  return all;
}

/** Medians, 99th percentiles and maxima, with three digits. */
export function quantilesOf(measured: readonly Measured[]) {
  const quantiles = (key: keyof Measured) => {
    const sorted = measured.map((row) => row[key]).sort((a, b) => a - b);
    const at = (q: number): number => short(sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]!);
    return { p50: at(0.5), p99: at(0.99), max: short(sorted.at(-1)!) };
  };
  return {
    relativeL2: quantiles('relativeL2'),
    normDeviation: quantiles('normDeviation'),
    beforeWire: quantiles('beforeWire'),
  };
}

export const short = (value: number): number => Number(value.toPrecision(3));

/** WGSL lets a device take subnormal numbers for zero: the same backend on such a device. */
export function flushing(backend: ExpertBackend): ExpertBackend {
  const load = backend.load.bind(backend);
  const run = backend.run.bind(backend);
  backend.load = (layer, expert, shard) => load(layer, expert, flushedShard(backend.shape, shard));
  backend.run = (lap) => run({ ...lap, rows: lap.rows.map(flushed) });
  return backend;
}

const flushed = (half: number): number => ((half & 0x7c00) === 0 ? half & 0x8000 : half);

function flushedShard(shape: ExpertShape, shard: Uint8Array): Uint8Array {
  const bytes = shard.slice();
  const layout = shardLayout(shape);
  // A power of two of 8 bits has no subnormals.
  if (shape.quant === 'mxfp4') return bytes;
  for (const matrix of layout.matrices) {
    const [offset, length] =
      shape.quant === 'f16' ? [matrix.valuesOffset, matrix.valuesBytes] : [matrix.scalesOffset, matrix.scalesBytes];
    const halves = new Uint16Array(bytes.buffer, bytes.byteOffset + offset, length / 2);
    for (let i = 0; i < halves.length; i++) halves[i] = flushed(halves[i]!);
  }
  return bytes;
}
