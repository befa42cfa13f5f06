import { CheckpointError } from '../errors.ts';
import { firstNotFinite, placeOf } from '../finite.ts';
import type { RowScratch } from '../row-scratch.ts';
import { dtypeBytes, type TensorDtype, toFloat32 } from '../safetensors.ts';
import type { WeightFiles } from '../weight-files.ts';
import { type Stack, stackedShape } from './stored-matrix.ts';
import { besideWeight, type Part, partError, type PartFinder, type PartReader, type PartSpec } from './encoding.ts';

/** What a tensor may be stored as, for an error about one that nothing explains. */
const QUANTISED_NAMES = (name: string): string[] => [
  `${name}_packed`,
  `${name}_blocks`,
  besideWeight(name, 'qweight'),
  besideWeight(name, 'absmax'),
];

/** Finds the parts of a matrix among the stored tensors; with `stack`, in its place in stacks of that size. */
export class StoredParts implements PartFinder {
  readonly #files: WeightFiles;
  readonly #stack: Stack | undefined;

  constructor(files: WeightFiles, stack: Stack | undefined) {
    this.#files = files;
    this.#stack = stack;
  }

  dtypeOf(name: string): TensorDtype | undefined {
    return this.#files.tensors.get(name)?.info.dtype;
  }

  find({ name, dtypes, shapes }: PartSpec): Part {
    const stored = this.#files.tensors.get(name);
    if (!stored) throw this.#missing(name);
    const { file, info } = stored;
    const { dtype, bytes, offset } = info;
    if (!dtypes.includes(dtype)) {
      throw new CheckpointError('wrong-dtype', file, name, `is ${dtype}, but has to be ${dtypes.join(' or ')}`);
    }
    const { index, size } = this.#stack ?? { index: 0, size: 1 };
    const shape = shapes.find((one) => isSame(info.shape, stackedShape(this.#stack, one)));
    if (shape) return { name, file, dtype, shape, offset: offset + (index * bytes) / size, bytes: bytes / size };
    const expected = stackedShape(this.#stack, shapes[0] ?? []).join(', ');
    const detail = `shape is [${info.shape.join(', ')}], but config.json requires [${expected}]`;
    throw new CheckpointError('wrong-shape', file, name, detail);
  }

  /** The error about a matrix that is stored in none of the formats that the config has. */
  unexplained(name: string, method: string | undefined): CheckpointError {
    const how = method ? `of ${method}, which config.json asks for` : 'without a quantization_config in config.json';
    const stored = [name, ...QUANTISED_NAMES(name)].find((one) => this.#files.tensors.has(one));
    if (stored === undefined) return this.#missing(name);
    const { file, info } = this.#files.tensors.get(stored)!;
    const remedy = "take config.json (and hf_quant_config.json, if there is one) from the model's own repository";
    return new CheckpointError('wrong-dtype', file, stored, `is ${info.dtype}, which is no weight ${how}: ${remedy}`);
  }

  #missing(name: string): CheckpointError {
    return new CheckpointError(
      'missing-tensor',
      this.#files.listedIn,
      name,
      'is not stored, but config.json requires it',
    );
  }
}

function isSame(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i]);
}

/** Reads parts from weight files. */
export function partReader(files: WeightFiles): PartReader {
  const bytes = (part: Part, offset: number, target: Uint8Array): Promise<void> =>
    files.read(part.file, part.offset + offset, target, part.name);
  return {
    bytes,
    floats: async (part, first, count, scratch?: RowScratch) => {
      const size = dtypeBytes[part.dtype];
      const raw = scratch ? scratch.raw(count * size) : new Uint8Array(count * size);
      await bytes(part, first * size, raw);
      const values = toFloat32(raw, part.dtype, scratch ? scratch.values(count) : new Float32Array(count));
      const bad = firstNotFinite(values);
      if (bad === undefined) return values;
      const place = placeOf(first + bad, part.shape);
      throw partError(part, 'not-finite', `the value at ${place} is ${values[bad]}: download it again`);
    },
  };
}
