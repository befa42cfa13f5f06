import { awq } from './awq.ts';
import type { Encoding, StoredMatrix } from './encoding.ts';
import { fp8 } from './fp8.ts';
import { gptq } from './gptq.ts';
import { int8 } from './int8.ts';
import { mxfp4 } from './mxfp4.ts';
import { nvfp4 } from './nvfp4.ts';
import { packedInt } from './packed-int.ts';
import { plain } from './plain.ts';
import type { Quantisation, WeightFormat } from './quantisation.ts';
import type { StoredParts } from './stored-parts.ts';

/**
 * How a matrix is stored: plainly if it is there so, else in that of the config's formats whose tensors are there. Reads nothing.
 * Throws CheckpointError `missing-tensor`, `wrong-dtype` or `wrong-shape`, naming the stored tensor.
 */
export function resolveEncoding(
  matrix: StoredMatrix,
  quantisation: Quantisation | null,
  finder: StoredParts,
): Encoding {
  const found = plain(matrix, finder);
  if (found) return found;
  let failure: unknown;
  for (const format of quantisation?.formats ?? []) {
    try {
      const encoding = encodingIn(format, matrix, finder);
      if (encoding) return encoding;
    } catch (error) {
      // Another format of the same checkpoint may have other groups.
      failure ??= error;
    }
  }
  throw failure ?? finder.unexplained(matrix.name, quantisation?.method);
}

function encodingIn(format: WeightFormat, matrix: StoredMatrix, finder: StoredParts): Encoding | undefined {
  switch (format.kind) {
    case 'fp8':
      return fp8(format, matrix, finder);
    case 'packed-int':
      return packedInt(format, matrix, finder);
    case 'int8':
      return int8(format, matrix, finder);
    case 'nvfp4':
      return nvfp4(format, matrix, finder);
    case 'mxfp4':
      return mxfp4(format, matrix, finder);
    case 'gptq':
      return gptq(format, matrix, finder);
    case 'awq':
      return awq(format, matrix, finder);
    default:
      return format satisfies never;
  }
}
