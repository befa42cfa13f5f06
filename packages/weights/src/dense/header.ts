import type { ModelConfig } from '@shoal/model';
import { z } from 'zod';
import { WeightsError } from '../errors.ts';
import { alignUp, denseLayout, type DenseLayout } from './layout.ts';
import type { DenseFormat } from './panels.ts';

/** The file of the dense engine's weights in a packed model's folder. */
export const DENSE_FILE = 'dense.shoal';
/** To be raised when the bytes of the file or their meaning change. */
const DENSE_VERSION = 1;

const MAGIC = 'SHOALDNS';
/** Magic, version (u32), bytes of the table of contents (u32). */
const PREFIX_BYTES = 16;
/** V3's table is 300 KB. */
const MAX_TABLE_BYTES = 16 * 1024 * 1024;

const size = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const tableSchema = z.object({
  format: z.enum(['f32', 'f16', 'q8', 'q4']),
  totalBytes: size,
  entries: z.array(
    z.object({
      name: z.string().max(200),
      format: z.enum(['f32', 'f16', 'q8', 'q4']),
      count: size,
      rows: size,
      cols: size,
      offset: size,
      bytes: size,
    }),
  ),
});
type Table = z.infer<typeof tableSchema>;

/** The layout of the file that holds a model's dense weights, and the bytes before its first segment. */
export function denseFile(config: ModelConfig, format: DenseFormat): { layout: DenseLayout; header: Uint8Array } {
  // The table contains offsets, which depend on its length. It therefore gets ample room, of which the rest stays 0.
  const draft = JSON.stringify(tableOf(denseLayout(config, format)));
  const entries = denseLayout(config, format).segments.reduce((sum, segment) => sum + segment.entries.length, 0);
  const headerBytes = alignUp(PREFIX_BYTES + draft.length + 16 * (entries + 1));
  const layout = denseLayout(config, format, headerBytes);
  const table = new TextEncoder().encode(JSON.stringify(tableOf(layout)));
  const header = new Uint8Array(headerBytes);
  header.set(new TextEncoder().encode(MAGIC));
  const view = new DataView(header.buffer);
  view.setUint32(8, DENSE_VERSION, true);
  view.setUint32(12, table.length, true);
  header.set(table, PREFIX_BYTES);
  return { layout, header };
}

function tableOf({ format, totalBytes, segments }: DenseLayout): Table {
  const entries = segments.flatMap((segment) =>
    segment.entries.map(({ name, format, count, rows, cols, offset, bytes }) => {
      return { name, format, count, rows, cols, offset, bytes };
    }),
  );
  return { format, totalBytes, entries };
}

/**
 * Reads a file's layout from its header. `read` returns bytes of the file, `fileBytes` is its size, `where` its name.
 * Throws WeightsError `corrupt` if it is not such a file, is incomplete, or belongs to another model.
 */
export async function readDenseHeader(
  config: ModelConfig,
  where: string,
  fileBytes: number,
  read: (offset: number, bytes: number) => Promise<Uint8Array>,
): Promise<DenseLayout> {
  const wrong = (what: string) => new WeightsError('corrupt', `${where} ${what}; pack the model again`);
  if (fileBytes < PREFIX_BYTES) throw wrong('is too short to hold packed weights');
  const prefix = await read(0, PREFIX_BYTES);
  const view = new DataView(prefix.buffer, prefix.byteOffset, PREFIX_BYTES);
  if (new TextDecoder().decode(prefix.subarray(0, 8)) !== MAGIC) throw wrong('does not hold packed weights');
  if (view.getUint32(8, true) !== DENSE_VERSION) throw wrong(`has version ${view.getUint32(8, true)}, not 1`);
  const tableBytes = view.getUint32(12, true);
  if (tableBytes > Math.min(MAX_TABLE_BYTES, fileBytes)) throw wrong('has a damaged table of contents');
  const table = parseTable(await read(PREFIX_BYTES, tableBytes));
  if (!table) throw wrong('has a damaged table of contents');
  const { layout } = denseFile(config, table.format);
  const expected = tableOf(layout);
  const found = new Map(table.entries.map((entry) => [entry.name, JSON.stringify(entry)]));
  const other = expected.entries.find((entry) => found.get(entry.name) !== JSON.stringify(entry));
  if (other) throw wrong(`does not hold ${other.name} as this model's config requires it`);
  if (fileBytes !== layout.totalBytes) throw wrong(`has ${fileBytes} bytes instead of ${layout.totalBytes}`);
  return layout;
}

function parseTable(bytes: Uint8Array): Table | undefined {
  try {
    return tableSchema.safeParse(JSON.parse(new TextDecoder().decode(bytes))).data;
  } catch {
    return undefined;
  }
}
