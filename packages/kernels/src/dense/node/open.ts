import { availableParallelism } from 'node:os';
import { kvWidth, type ModelConfig, type TensorReader } from '@shoal/model';
import { denseLayout, packDenseEntry, type DenseFormat, type PackedDense } from '@shoal/weights';
import { compileWasm } from '../../wasm/node.ts';
import { DenseMemory } from '../dense-memory.ts';
import { pageBytes, positionBytes } from '../kv-pages.ts';
import { createInlineRunner } from '../runner.ts';
import { ENCODER_PAGES, WasmEngine } from '../wasm-engine.ts';
import { startThreads } from './threads.ts';

export interface WasmEngineOptions {
  config: ModelConfig;
  /** A packed model's dense weights; or a checkpoint, packed into memory as it is read. */
  weights: PackedDense | { reader: TensorReader; format: DenseFormat };
  /** Threads that compute, by default one per core; 0 computes on the calling thread. */
  threads?: number | undefined;
  /** Size of the KV cache, whose memory is reserved and then used as sequences grow. */
  kvBytes?: number | undefined;
  /** Limit of one memory, which tests set below WebAssembly's 4 GiB. */
  bankBytes?: number | undefined;
}

/** A few hundred thousand positions of a small model, or some thousands of V3's. */
const DEFAULT_KV_BYTES = 512 * 1024 * 1024;

/**
 * Opens the dense engine, with its weights loaded and its threads started. Throws a WeightsError if weights are missing or
 * damaged, a RangeError if they don't fit.
 */
export async function openWasmEngine(options: WasmEngineOptions): Promise<WasmEngine> {
  const { config } = options;
  const shared = options.threads !== 0;
  const threads = Math.max(1, options.threads ?? availableParallelism());
  const module = await compileWasm({ threads: shared, relaxed: false });
  const { weights } = options;
  const layout = 'reader' in weights ? denseLayout(config, weights.format) : weights.layout;
  const memory = new DenseMemory(config, layout, {
    kvBytes: usefulKvBytes(config, options.kvBytes ?? DEFAULT_KV_BYTES),
    threads,
    bankBytes: options.bankBytes,
    shared,
  });
  if ('reader' in weights) await packSegments(config, weights.reader, memory);
  else await readSegments(weights, memory);
  const memories = memory.banks.map((bank) => bank.memory);
  const runner = shared ? await startThreads(module, memories, threads) : createInlineRunner(module, memories);
  return new WasmEngine(memory, runner);
}

/** Limits the KV cache to what 256 sequences of the whole context could use; an encoder's is as large as its passes need. */
function usefulKvBytes(config: ModelConfig, budgetBytes: number): number {
  if (config.encoder) return ENCODER_PAGES * pageBytes(1, kvWidth(config.attention));
  const perToken = config.numHiddenLayers * positionBytes(kvWidth(config.attention));
  return Math.min(budgetBytes, 256 * (config.maxPositionEmbeddings + 16) * perToken);
}

/** Reads straight into the memory that the kernels use. */
async function readSegments(weights: PackedDense, memory: DenseMemory): Promise<void> {
  for (const segment of memory.segments) {
    const target = memory.bytesOf(segment);
    for (const entry of segment.entries) {
      const start = entry.offset - segment.offset;
      await weights.read(entry, target.subarray(start, start + entry.bytes));
    }
  }
}

/** Packs a checkpoint into memory, some rows at a time as float32, or whole tensors if its reader cannot read rows. */
async function packSegments(config: ModelConfig, reader: TensorReader, memory: DenseMemory): Promise<void> {
  let held: { name: string; values: Float32Array } | undefined;
  for (const segment of memory.segments) {
    for (const entry of segment.entries) {
      const { tensor } = entry.source;
      const columns = tensor.shape[1] ?? 1;
      const rows = async (start: number, count: number): Promise<Float32Array> => {
        if (reader.readRows) return reader.readRows(tensor, start, count);
        if (held?.name !== tensor.name) held = { name: tensor.name, values: await reader.read(tensor) };
        return held.values.subarray(start * columns, (start + count) * columns);
      };
      let at = entry.offset - segment.offset;
      await packDenseEntry(config, entry, rows, (bytes) => {
        memory.bytesOf(segment).set(bytes, at);
        at += bytes.byteLength;
      });
    }
  }
}
