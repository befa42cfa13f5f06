import { CheckpointError } from '../errors.ts';
import { RowScratch } from '../row-scratch.ts';
import type { GgufFiles } from './files.ts';
import { ROPE_FACTORS } from './names.ts';
import { TensorReader } from './read-rows.ts';

/** The divisors in a file, [pairs]; undefined where it has none. Throws CheckpointError. */
export async function readRopeFactors(files: GgufFiles, pairs: number): Promise<number[] | undefined> {
  const stored = files.tensors.get(ROPE_FACTORS);
  if (!stored) return undefined;
  const { file, tensor } = stored;
  if (tensor.shape.join() !== `${pairs}`) {
    const detail = `has the shape [${tensor.shape.join(', ')}], and the metadata implies [${pairs}]`;
    throw new CheckpointError('wrong-shape', file.name, ROPE_FACTORS, detail);
  }
  const reader = new TensorReader(files);
  const factors = [...(await reader.rows(ROPE_FACTORS, 0, 1, pairs, new RowScratch()))];
  const bad = factors.find((factor) => factor <= 0);
  if (bad === undefined) return factors;
  throw new CheckpointError('bad-header', file.name, ROPE_FACTORS, `divides a frequency by ${bad}: download it again`);
}
