import { firstNotFinite, placeOf } from '../finite.ts';
import type { RowScratch } from '../row-scratch.ts';
import { dtypeBytes, toFloat32 } from '../safetensors.ts';
import { type Encoding, type Part, partError, type PartReader } from './encoding.ts';

/**
 * Rows held at a time, of a matrix that is stored transposed: a stored line's part of them is 16 KiB in BF16, so that a read is worth
 * its call, and a matrix of Llama 4's experts (5,120 columns) takes 84 MB instead of the 335 MB that all of it takes as float32.
 */
const BAND_ROWS = 8192;
/** Reads of lines in flight. */
const READS = 16;

/** Rows as they are stored, in pieces of all lines: [cols][count] values. */
interface Band {
  first: number;
  count: number;
  bytes: Uint8Array;
}

/** A matrix [rows, cols] stored as numbers in `part`, [cols, rows]. `bandRows` is for tests. */
export function transposed(part: Part, rows: number, cols: number, bandRows = BAND_ROWS): Encoding {
  const size = dtypeBytes[part.dtype];
  const bandAt = (row: number, reader: PartReader, scratch: RowScratch): Promise<Band> => {
    const first = row - (row % bandRows);
    const count = Math.min(bandRows, rows - first);
    const key = `${part.name}@${part.offset}#${first}`;
    return scratch.whole(key, async () => ({
      first,
      count,
      bytes: await readBand(part, reader, [rows, cols], first, count),
    }));
  };
  return {
    isPlain: true,
    parts: [part],
    rows: async (reader, firstRow, numRows, scratch) => {
      const out = scratch.values(numRows * cols);
      for (let done = 0; done < numRows;) {
        const { first, count, bytes } = await bandAt(firstRow + done, reader, scratch);
        const skipped = firstRow + done - first;
        const taken = Math.min(numRows - done, count - skipped);
        const values = new Float32Array(taken);
        for (let c = 0; c < cols; c++) {
          const at = (c * count + skipped) * size;
          toFloat32(bytes.subarray(at, at + taken * size), part.dtype, values);
          for (let r = 0; r < taken; r++) out[(done + r) * cols + c] = values[r]!;
        }
        done += taken;
      }
      const bad = firstNotFinite(out);
      if (bad === undefined) return out;
      const place = placeOf((bad % cols) * rows + firstRow + Math.floor(bad / cols), part.shape);
      throw partError(part, 'not-finite', `the value at ${place} is ${out[bad]}: download it again`);
    },
  };
}

/** Reads `count` rows from `first` on, of all lines. */
async function readBand(
  part: Part,
  reader: PartReader,
  [rows, cols]: readonly [number, number],
  first: number,
  count: number,
): Promise<Uint8Array> {
  const size = dtypeBytes[part.dtype];
  const bytes = new Uint8Array(cols * count * size);
  if (count === rows) {
    await reader.bytes(part, 0, bytes);
    return bytes;
  }
  const lineBytes = count * size;
  for (let line = 0; line < cols; line += READS) {
    const some = Array.from({ length: Math.min(READS, cols - line) }, (_, i) => line + i);
    await Promise.all(
      some.map((c) =>
        reader.bytes(part, (c * rows + first) * size, bytes.subarray(c * lineBytes, (c + 1) * lineBytes)),
      ),
    );
  }
  return bytes;
}
