import { type Int8Rows, type RowOutliers, type WorkItem } from '@shoal/model';
import { FrameError } from './error.ts';
import { BLOCK } from './layout.ts';
import { checkExponent, decodeInt8Row, type EncodedRows, type RowFormat } from './row-format.ts';
import { formatBits } from './types.ts';

const int8 = {
  codes: { element: 'i8', dims: ['numRows', 'hiddenSize'] },
  scales: { element: 'u8', dims: ['numRows', 'hiddenSize/32'] },
} as const;
const exponents = { exponents: { element: 'u8', dims: ['numRows'] } } as const;

/** The arrays that carry a frame's rows, by its format. */
export const rowArrays = {
  f16: { rows: { element: 'f16', dims: ['numRows', 'hiddenSize'] } },
  int8,
  /** Behind a frame's other arrays, so that those are where they are in a plain one. */
  largeF16: exponents,
  largeInt8: {
    outliersPerRow: { element: 'u16', dims: ['numRows'] },
    outlierColumns: { element: 'u16', dims: ['numOutliers'] },
    outliers: { element: 'f16', dims: ['numOutliers'] },
    ...exponents,
  },
} as const;

/** The exponent of a combine's row that has no finite sum; its values are 0. */
export const NO_FINITE_SUM = 255;

/** The layout of rows of this format. */
export function layoutName(rowFormat: RowFormat, isLarge: boolean) {
  if (rowFormat === 'f16') return isLarge ? 'largeF16' : 'f16';
  return isLarge ? 'largeInt8' : 'int8';
}

/** The format of a frame's rows, from its format bits. */
export function rowFormatOf(format: number): RowFormat {
  return (format & formatBits.int8Rows) === 0 ? 'f16' : 'int8';
}

/** Arrays of a frame with rows, as its layout reads them. */
interface FrameRows {
  rows?: Uint16Array;
  codes?: Int8Array;
  scales?: Uint8Array;
  exponents?: Uint8Array;
  outliersPerRow?: Uint16Array;
  outlierColumns?: Uint16Array;
  outliers?: Uint16Array;
}

/** The format bits of a frame of these rows, and its arrays. */
export function rowFields(rowFormat: RowFormat, { rows, exponents: given, int8: bytes }: EncodedRows) {
  const outliers = bytes?.outliers?.flatMap((row) => row ?? []) ?? [];
  const isLarge = given !== undefined || outliers.length > 0;
  const numRows = given?.length ?? bytes?.outliers?.length ?? 0;
  const flat = (of: keyof RowOutliers): Uint16Array => Uint16Array.from(outliers.flatMap((row) => [...row[of]]));
  const columns = flat('at');
  return {
    format: (rowFormat === 'int8' ? formatBits.int8Rows : 0) | (isLarge ? formatBits.largeRows : 0),
    isLarge,
    numOutliers: columns.length,
    arrays: {
      rows,
      codes: bytes?.codes ?? new Int8Array(0),
      scales: bytes?.scales ?? new Uint8Array(0),
      exponents: given ?? new Uint8Array(numRows),
      outliersPerRow: Uint16Array.from({ length: numRows }, (_, row) => bytes?.outliers?.[row]?.at.length ?? 0),
      outlierColumns: columns,
      outliers: flat('halves'),
    },
  };
}

/**
 * The rows of a frame as a backend reads them. Throws a FrameError for what no encoder writes; a row whose exponent is
 * NO_FINITE_SUM is left to the caller.
 */
export function readFrameRows(
  name: string,
  arrays: FrameRows,
  hiddenSize: number,
): Pick<WorkItem, 'rows' | 'exponents'> {
  const { exponents: found } = arrays;
  for (const exponent of found ?? []) if (exponent !== NO_FINITE_SUM) checkExponent(name, exponent);
  const rows = arrays.rows ?? decodeInt8Rows(name, arrays, hiddenSize);
  return { rows, ...(found?.some((exponent) => exponent !== 0) && { exponents: found }) };
}

function decodeInt8Rows(name: string, arrays: FrameRows, hiddenSize: number): Uint16Array {
  const { codes, scales, outliers } = { ...arrays, outliers: outliersByRow(name, arrays) } as Int8Rows;
  const numBlocks = Math.ceil(hiddenSize / BLOCK);
  const rows = new Uint16Array(codes.length);
  for (let row = 0; row * hiddenSize < codes.length; row++) {
    const [first, end] = [row * hiddenSize, (row + 1) * hiddenSize];
    const own = scales.subarray(row * numBlocks, (row + 1) * numBlocks);
    const of = { codes: codes.subarray(first, end), scales: own, outliers: outliers?.[row] };
    decodeInt8Row(name, of, rows.subarray(first, end));
  }
  return rows;
}

function outliersByRow(
  name: string,
  { outliersPerRow, outlierColumns, outliers }: FrameRows,
): (RowOutliers | undefined)[] | undefined {
  if (!outliersPerRow || !outlierColumns || !outliers) return undefined;
  let end = 0;
  const byRow = Array.from(outliersPerRow, (count) => {
    const from = end;
    end += count;
    if (count === 0) return undefined;
    return { at: outlierColumns.subarray(from, end), halves: outliers.subarray(from, end) };
  });
  if (end !== outliers.length)
    throw new FrameError('bad-order', `${name}: rows have ${end} outliers, but there are ${outliers.length}.`);
  return byRow;
}
