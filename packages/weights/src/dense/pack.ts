import type { ModelConfig } from '@shoal/model';
import { WeightsError } from '../errors.ts';
import type { DenseEntry } from './layout.ts';
import { packPanels, panelBytes, PANEL_ROWS } from './panels.ts';

/** Some rows of a checkpoint's tensor, [count, columns], as float32. */
export type ReadRows = (start: number, count: number) => Promise<Float32Array>;

/** Values converted at a time: 16 MiB as float32. */
const CHUNK_VALUES = 4 * 1024 * 1024;

/**
 * Packs one entry from its tensor's rows, a piece at a time. `write` receives the entry's bytes in order; each array is valid
 * until the call returns (or its promise resolves). Throws WeightsError `bad-weight` naming the tensor.
 */
export async function packDenseEntry(
  config: ModelConfig,
  entry: DenseEntry,
  readRows: ReadRows,
  write: (bytes: Uint8Array) => void | Promise<void>,
): Promise<void> {
  try {
    if (entry.kind === 'vector') await write(await packVector(entry, readRows));
    else if (entry.source.part === 'whole') await packMatrix(entry, readRows, 0, write);
    else for (let head = 0; head < entry.count; head++) await packHead(config, entry, head, readRows, write);
  } catch (cause) {
    if (!(cause instanceof WeightsError)) throw cause;
    throw new WeightsError(cause.reason, `${entry.source.tensor.name}: ${cause.message}`, { cause });
  }
}

async function packVector(entry: DenseEntry, readRows: ReadRows): Promise<Uint8Array> {
  const [rows = 1] = entry.source.tensor.shape;
  const values = await readRows(0, rows);
  const out = new Float32Array(entry.bytes / Float32Array.BYTES_PER_ELEMENT);
  out.set(values);
  return new Uint8Array(out.buffer);
}

async function packMatrix(
  { format, rows, cols }: DenseEntry,
  readRows: ReadRows,
  firstRow: number,
  write: (bytes: Uint8Array) => void | Promise<void>,
): Promise<void> {
  const step = Math.max(PANEL_ROWS, Math.floor(CHUNK_VALUES / cols / PANEL_ROWS) * PANEL_ROWS);
  for (let start = 0; start < rows; start += step) {
    const count = Math.min(step, rows - start);
    const out = new Uint8Array(panelBytes(format, count, cols));
    packPanels(format, await readRows(firstRow + start, count), count, cols, out);
    await write(out);
  }
}

/** Per head `kv_b_proj` has first `qkNopeHeadDim` rows of W_UK, then `vHeadDim` rows of W_UV. */
async function packHead(
  { attention }: ModelConfig,
  entry: DenseEntry,
  head: number,
  readRows: ReadRows,
  write: (bytes: Uint8Array) => void | Promise<void>,
): Promise<void> {
  if (attention.kind !== 'mla') throw new TypeError(`kv_b_proj in a model of ${attention.kind} attention`);
  const { qkNopeHeadDim: nope, vHeadDim, kvLoraRank } = attention;
  const first = head * (nope + vHeadDim);
  if (entry.source.part === 'w-uv') return packMatrix(entry, readRows, first + nope, write);
  const wUk = await readRows(first, nope);
  const transposed = new Float32Array(kvLoraRank * nope);
  for (let n = 0; n < nope; n++) {
    for (let k = 0; k < kvLoraRank; k++) transposed[k * nope + n] = wUk[n * kvLoraRank + k]!;
  }
  const out = new Uint8Array(panelBytes(entry.format, kvLoraRank, nope));
  packPanels(entry.format, transposed, kvLoraRank, nope, out);
  await write(out);
}
