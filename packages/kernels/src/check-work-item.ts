import { type ExpertAdapter, messageOf, rowRange, rowStart, type WorkItem } from '@shoal/model';
import { shardBytes, type ExpertShape, unpackAdapter } from '@shoal/weights';
import { KernelError } from './backend.ts';

/** Above any model's experts per token, even with repeated experts. Bounds the scratch that one row may need. */
export const MAX_ASSIGNMENTS_PER_ROW = 1_024;

/** Throws KernelError `bad-shard` for a shard of the wrong length. */
export function checkShard(shape: ExpertShape, layer: number, expert: number, shard: Uint8Array): void {
  const expected = shardBytes(shape);
  if (shard.byteLength === expected) return;
  const problem = `a ${shape.quant} shard has ${expected} bytes, but this one has ${shard.byteLength}`;
  throw new KernelError('bad-shard', `expert ${expert} of layer ${layer}: ${problem}`);
}

/** Reads a low-rank shard. Throws KernelError `bad-shard`. */
export function readAdapterShard(shape: ExpertShape, shard: Uint8Array): ExpertAdapter {
  try {
    return unpackAdapter(shape, shard);
  } catch (cause) {
    throw new KernelError('bad-shard', messageOf(cause), { cause });
  }
}

export const adapterFreed = (): KernelError => new KernelError('not-loaded', 'an adapter of the lap is not held here');

export function notLoaded(layer: number, expert: number): KernelError {
  return new KernelError('not-loaded', `expert ${expert} of layer ${layer} is not loaded here`);
}

/** Throws KernelError `bad-lap` if a lap's arrays are inconsistent, `not-loaded` if it names an expert that isn't loaded. */
export function checkWorkItem(
  lap: WorkItem,
  shape: ExpertShape,
  has: (layer: number, expert: number) => boolean,
): void {
  const { numRows, rows, rowEnd, experts, weights } = lap;
  if (!Number.isInteger(numRows) || numRows < 0) throw badLap(`numRows is ${numRows}`);
  const values = numRows * shape.hiddenSize;
  if (rows.length !== values) {
    throw badLap(`rows has ${rows.length} values, but [${numRows}, ${shape.hiddenSize}] needs ${values}`);
  }
  if (rowEnd.length !== numRows) throw badLap(`rowEnd has ${rowEnd.length} entries for ${numRows} rows`);
  if (weights.length !== experts.length) throw badLap(`${weights.length} weights for ${experts.length} experts`);
  for (let row = 0; row < numRows; row++) {
    const [from, to] = rowRange(lap, row);
    const count = to - from;
    if (count < 0) throw badLap(`rowEnd falls at row ${row}`);
    if (count > MAX_ASSIGNMENTS_PER_ROW) {
      throw badLap(`row ${row} names ${count} experts, more than the ${MAX_ASSIGNMENTS_PER_ROW} allowed`);
    }
  }
  const assigned = rowStart(lap, numRows);
  if (assigned !== experts.length) throw badLap(`rowEnd ends at ${assigned}, but there are ${experts.length} experts`);
  checkAdapters(lap);
  for (const expert of experts) if (!has(lap.layer, expert)) throw notLoaded(lap.layer, expert);
}

function checkAdapters({ adapters, experts: { length } }: WorkItem): void {
  if (!adapters) return;
  const { ends, of, scales, experts } = adapters;
  if (ends.length !== length) throw badLap(`${ends.length} lists of adapters for ${length} experts`);
  if (ends.some((end, i) => i > 0 && end < ends[i - 1]!)) throw badLap('the ends of lists of adapters fall');
  if ((ends.at(-1) ?? 0) !== of.length)
    throw badLap(`lists of adapters end at ${ends.at(-1)}, but there are ${of.length}`);
  if (scales.length !== 3 * of.length) throw badLap(`${scales.length} scales of ${of.length} adapters`);
  if (of.some((index) => index >= experts.length)) throw badLap(`an adapter beyond the ${experts.length} given`);
}

function badLap(what: string): KernelError {
  return new KernelError('bad-lap', `the lap is inconsistent: ${what}`);
}
