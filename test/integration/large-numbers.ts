import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  createReferenceEngine,
  KvCache,
  loadDenseWeights,
  loadExpert,
  LocalExperts,
  parseHeader,
  PREFIX_BYTES,
  readHeaderLength,
} from '@shoal/model';
import { openCheckpoint } from '@shoal/model/node';
import { fixtureDir } from '../golden/families.ts';

/** What every value of the residual stream is multiplied by, and two columns of it besides. */
const RESIDUAL = 2 ** 8;
const MASSIVE = 2 ** 5;
const MASSIVE_COLUMNS = [5, 37];
/** What makes up for the massive columns in a norm. */
const NORM_GAIN = 4;
/** What keys and latents are multiplied by, and queries divided by. */
const KEYS = 2 ** 16;

/** The factor of a weight. All are powers of two, which lose nothing in BF16. */
function factorAt(name: string, row: number, column: number, isMla: boolean): number {
  const massive = (index: number): number => (MASSIVE_COLUMNS.includes(index) ? MASSIVE : 1);
  if (name.includes('embed_tokens')) return RESIDUAL * massive(column);
  if (name.includes('down_proj')) return RESIDUAL * massive(row);
  // Its input has grown as values have.
  if (name.includes('o_proj')) return (isMla ? RESIDUAL / KEYS : 1) * massive(row);
  if (/input_layernorm|post_attention_layernorm|model\.norm/.test(name)) return NORM_GAIN / massive(row);
  if (/q_norm|q_a_layernorm/.test(name)) return 1 / KEYS;
  if (/k_norm|kv_a_layernorm/.test(name)) return KEYS;
  if (name.includes('v_proj')) return RESIDUAL;
  // MLA's latents, which are normalised, and the rotated key behind them.
  if (name.includes('kv_a_proj_with_mqa')) return row >= 20 ? KEYS : 1;
  return 1;
}

/**
 * Copies a fixture to `dir` with weights multiplied by powers of two, so that its residual stream, the sums of its experts, its
 * keys and its values are as large as those of published models, with massive activations in two columns.
 */
export async function enlarge(fixture: string, dir: string): Promise<void> {
  await cp(fixtureDir(fixture), dir, { recursive: true });
  const path = join(dir, 'model.safetensors');
  const file = await readFile(path);
  const headerBytes = readHeaderLength(file.subarray(0, PREFIX_BYTES), file.byteLength, path);
  const table = parseHeader(file.subarray(PREFIX_BYTES, PREFIX_BYTES + headerBytes), file.byteLength, path);
  const value = new DataView(new ArrayBuffer(4));
  const isMla = [...table.keys()].some((name) => name.includes('kv_a_layernorm'));
  for (const [name, { offset, bytes, dtype, shape }] of table) {
    if (dtype !== 'BF16') continue;
    const columns = shape[1] ?? 1;
    for (let i = 0; i < bytes / 2; i++) {
      value.setUint32(0, file.readUInt16LE(offset + 2 * i) << 16);
      value.setFloat32(0, value.getFloat32(0) * factorAt(name, Math.floor(i / columns), i % columns, isMla));
      file.writeUInt16LE(value.getUint16(0), offset + 2 * i);
    }
  }
  await writeFile(path, file);
}

/** The float32 reference of a checkpoint: each position's best token and its lead, and the largest magnitudes met. */
export async function reference(dir: string, sequences: readonly (readonly number[])[]) {
  const checkpoint = await openCheckpoint(dir);
  try {
    const { config } = checkpoint;
    const engine = createReferenceEngine({ config, weights: await loadDenseWeights(config, checkpoint) });
    const load = (layer: number, expert: number) => loadExpert(config, checkpoint, layer, expert);
    const local = new LocalExperts(config, load, { maxBytes: 2 ** 26 });
    const largest = { sum: 0, cached: 0 };
    const top = (before: number, values: Float32Array): number =>
      values.reduce((most, value) => Math.max(most, Math.abs(value)), before);
    const experts: typeof local = Object.assign(Object.create(local) as typeof local, {
      dispatch: (call: Parameters<typeof local.dispatch>[0]) => {
        const { combine } = local.dispatch(call);
        return {
          combine: async () => {
            const sums = await combine();
            largest.sum = top(largest.sum, sums);
            return sums;
          },
        };
      },
    });
    const best: { tokenId: number; lead: number }[][] = [];
    for (const ids of sequences) {
      const cache = engine.newSequence() as KvCache;
      const rows = ids.map((tokenId, position) => ({ tokenId, position, cache, wantLogits: true }));
      const { logits } = await engine.forward(rows, experts);
      best.push(logits.map((row) => leader(row!)));
      for (let layer = 0; layer < config.numHiddenLayers; layer++)
        for (const { values } of cache.segments(layer, cache.length)) largest.cached = top(largest.cached, values);
    }
    return { best, largest };
  } finally {
    await checkpoint.close();
  }
}

function leader(logits: Float32Array): { tokenId: number; lead: number } {
  const tokenId = logits.indexOf(logits.reduce((a, b) => Math.max(a, b)));
  const second = logits.reduce((most, value, i) => (i === tokenId ? most : Math.max(most, value)), -Infinity);
  return { tokenId, lead: logits[tokenId]! - second };
}
