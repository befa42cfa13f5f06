import { f16ToF32, f32ToF16 } from '@shoal/model';
import { WeightsError } from '../errors.ts';

export const DENSE_FORMATS = ['f32', 'f16', 'q8', 'q4'] as const;
/** How a matrix of the dense engine's weights is stored. Vectors and gates are always f32. */
export type DenseFormat = (typeof DENSE_FORMATS)[number];

/** What panels can hold: also experts in a format that the dense engine's weights don't have. */
export type PanelFormat = DenseFormat | 'mxfp4';

/** Columns that share a scale. Rows are padded with zeros to whole blocks. */
export const PANEL_COLS = 32;
/** Outputs that the kernels compute together. Their rows are interleaved, so that one product reads one stream. */
export const PANEL_ROWS = 4;

/**
 * Bytes of one block of a panel: 4 rows × 32 columns, as packages/kernels/wasm/assembly/dense/panels.ts reads them.
 * f32: [8 × 4 columns][4 rows][4]. f16: [4 × 8 columns][4 rows][8]. q8: 4 scales (f16), then [4 rows][32 int8].
 * q4: 4 scales (f16), then [4 rows][8] 16-bit words: nibble j of word l is column 8j + l, two's complement.
 * mxfp4: 4 scales (E8M0), then [4 rows][16 B]: column j in byte j's low nibble, column j + 16 in its high one, E2M1.
 */
export const PANEL_BLOCK_BYTES: Readonly<Record<PanelFormat, number>> = {
  f32: 512,
  f16: 256,
  q8: 136,
  q4: 72,
  mxfp4: 68,
};

/** Bytes of a matrix [rows, cols], rounded up to whole panels and blocks. */
export function panelBytes(format: PanelFormat, rows: number, cols: number): number {
  return Math.ceil(rows / PANEL_ROWS) * Math.ceil(cols / PANEL_COLS) * PANEL_BLOCK_BYTES[format];
}

/**
 * Packs a matrix, or some of its rows from a multiple of 4 on: values [rows, cols], row-major, to the beginning of `out`.
 * Throws WeightsError `bad-weight` for values that are not finite or too large for the format's f16.
 */
export function packPanels(
  format: DenseFormat,
  values: Float32Array,
  rows: number,
  cols: number,
  out: Uint8Array,
): void {
  const bytes = panelBytes(format, rows, cols);
  if (out.byteLength < bytes || values.length < rows * cols) {
    throw new WeightsError('bad-shape', `${rows} × ${cols} values do not fit ${out.byteLength} bytes as ${format}`);
  }
  const blocks = Math.ceil(cols / PANEL_COLS);
  const blockBytes = PANEL_BLOCK_BYTES[format];
  const view = new DataView(out.buffer, out.byteOffset, bytes);
  const pack = PACKERS[format];
  for (let row = 0; row < Math.ceil(rows / PANEL_ROWS) * PANEL_ROWS; row++) {
    const panel = Math.floor(row / PANEL_ROWS) * blocks * blockBytes;
    for (let b = 0; b < blocks; b++) {
      const count = row < rows ? Math.min(PANEL_COLS, cols - b * PANEL_COLS) : 0;
      block.fill(0, count);
      for (let i = 0; i < count; i++) block[i] = values[row * cols + b * PANEL_COLS + i]!;
      pack(view, panel + b * blockBytes, row % PANEL_ROWS);
    }
  }
}

/** The columns being packed, and their bits. */
const block = new Float32Array(PANEL_COLS);
const bits = new Uint32Array(block.buffer);
/** Float32 magnitudes, as bits, that become normal halves: from 2^-14 to just below the least that rounds to ∞. */
const MIN_NORMAL_BITS = 0x38800000;
const NORMAL_BITS = 0x477ff000 - MIN_NORMAL_BITS;

type PackBlock = (out: DataView, at: number, r: number) => void;

const PACKERS: Record<DenseFormat, PackBlock> = { f32: packF32, f16: packF16, q8: packQ8, q4: packQ4 };

function packF32(out: DataView, at: number, r: number): void {
  for (let i = 0; i < PANEL_COLS; i++) {
    out.setFloat32(at + (i >> 2) * 64 + r * 16 + (i & 3) * 4, finite(block[i]!), true);
  }
}

function packF16(out: DataView, at: number, r: number): void {
  for (let i = 0; i < PANEL_COLS; i++) {
    const b = bits[i]!;
    const magnitude = b & 0x7fffffff;
    // f32ToF16's rounding without a call, since nearly every weight takes this branch.
    const rounded =
      (magnitude - MIN_NORMAL_BITS) >>> 0 < NORMAL_BITS
        ? ((b >>> 16) & 0x8000) | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13)
        : half(finite(block[i]!));
    out.setUint16(at + (i >> 3) * 64 + r * 16 + (i & 7) * 2, rounded, true);
  }
}

/** d = max |w| / 127, rounded to f16 before the values are divided by it. */
function packQ8(out: DataView, at: number, r: number): void {
  let amax = 0;
  for (let i = 0; i < PANEL_COLS; i++) amax = Math.max(amax, Math.abs(finite(block[i]!)));
  const scale = half(amax / 127);
  out.setUint16(at + r * 2, scale, true);
  const d = f16ToF32(scale);
  const inverse = d > 0 ? 1 / d : 0;
  for (let i = 0; i < PANEL_COLS; i++) {
    const q = Math.round(block[i]! * inverse);
    out.setInt8(at + 8 + r * 32 + i, q > 127 ? 127 : q < -127 ? -127 : q);
  }
}

/** The value of largest magnitude is divided by each of these for the scales to try. −8 is the only code of magnitude 8. */
const Q4_STEPS = [-8.7, -8, -7.4, 7.2];
const codes = new Int8Array(PANEL_COLS);

/**
 * Symmetric int4 (−8 … 7). Takes the codes of a few scales with the least squared error, and the best scale for these codes,
 * Σwq / Σq². A scale may be negative, so that −8 can be a positive extreme.
 */
function packQ4(out: DataView, at: number, r: number): void {
  let extreme = 0;
  for (let i = 0; i < PANEL_COLS; i++) if (Math.abs(finite(block[i]!)) > Math.abs(extreme)) extreme = block[i]!;
  let bestScore = 0;
  let d = 0;
  for (const step of extreme === 0 ? [] : Q4_STEPS) {
    const inverse = step / extreme;
    let wq = 0;
    let qq = 0;
    for (let i = 0; i < PANEL_COLS; i++) {
      const q = clampCode(Math.round(block[i]! * inverse));
      wq += block[i]! * q;
      qq += q * q;
    }
    if (qq > 0 && (wq * wq) / qq > bestScore) {
      bestScore = (wq * wq) / qq;
      d = wq / qq;
    }
  }
  writeQ4(d, out, at, r);
}

function writeQ4(best: number, out: DataView, at: number, r: number): void {
  const scale = half(best);
  out.setUint16(at + r * 2, scale, true);
  const d = f16ToF32(scale);
  const inverse = d === 0 ? 0 : 1 / d;
  for (let i = 0; i < PANEL_COLS; i++) codes[i] = clampCode(Math.round(block[i]! * inverse));
  for (let l = 0; l < 8; l++) {
    let word = 0;
    for (let j = 0; j < 4; j++) word |= (codes[8 * j + l]! & 15) << (4 * j);
    out.setUint16(at + 8 + r * 16 + l * 2, word, true);
  }
}

function clampCode(q: number): number {
  return q > 7 ? 7 : q < -8 ? -8 : q;
}

function finite(value: number): number {
  if (Number.isFinite(value)) return value;
  throw new WeightsError('bad-weight', `a weight is ${value}: the checkpoint is damaged`);
}

function half(value: number): number {
  const bits = f32ToF16(value);
  if ((bits & 0x7fff) < 0x7c00) return bits;
  throw new WeightsError('bad-weight', `${value} is too large for f16: pack this model's dense weights as f32`);
}

/** Unpacks a matrix, [rows, cols]. */
export function unpackPanels(format: DenseFormat, bytes: Uint8Array, rows: number, cols: number): Float32Array {
  const out = new Float32Array(rows * cols);
  for (let row = 0; row < rows; row++) out.set(unpackPanelRow(format, bytes, row, cols), row * cols);
  return out;
}

/** Unpacks one row of a matrix, [cols]. */
export function unpackPanelRow(format: DenseFormat, bytes: Uint8Array, row: number, cols: number): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const blockBytes = PANEL_BLOCK_BYTES[format];
  const panel = Math.floor(row / PANEL_ROWS) * Math.ceil(cols / PANEL_COLS) * blockBytes;
  const unpack = UNPACKERS[format];
  return Float32Array.from({ length: cols }, (_, col) => {
    return unpack(view, panel + Math.floor(col / PANEL_COLS) * blockBytes, row % PANEL_ROWS, col % PANEL_COLS);
  });
}

const UNPACKERS: Record<DenseFormat, (view: DataView, at: number, r: number, i: number) => number> = {
  f32: (view, at, r, i) => view.getFloat32(at + (i >> 2) * 64 + r * 16 + (i & 3) * 4, true),
  f16: (view, at, r, i) => f16ToF32(view.getUint16(at + (i >> 3) * 64 + r * 16 + (i & 7) * 2, true)),
  q8: (view, at, r, i) => f16ToF32(view.getUint16(at + r * 2, true)) * view.getInt8(at + 8 + r * 32 + i),
  q4: (view, at, r, i) => {
    const code = (view.getUint16(at + 8 + r * 16 + (i & 7) * 2, true) >> (4 * (i >> 3))) & 15;
    return f16ToF32(view.getUint16(at + r * 2, true)) * (code > 7 ? code - 16 : code);
  },
};
