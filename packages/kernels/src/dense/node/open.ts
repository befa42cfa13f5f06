import { availableParallelism } from 'node:os';
import {
  contextLength,
  type DraftVocabulary,
  type HeadConfig,
  kvWidth,
  type ModelConfig,
  numDecoderLayers,
  type TensorReader,
} from '@shoal/model';
import {
  denseLayout,
  type DenseSegment,
  headLayout,
  packDenseEntry,
  type DenseFormat,
  type PackedDense,
} from '@shoal/weights';
import { compileWasm } from '../../wasm/node.ts';
import { DenseMemory } from '../dense-memory.ts';
import { pageBytes, positionBytes } from '../kv-pages.ts';
import { createInlineRunner, type Runner } from '../runner.ts';
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
  /** Memory for adapters, which is reserved; none can be loaded by default. */
  adapterBytes?: number | undefined;
  /** An engine whose threads are used too, in turns, so that no two teams compute at once; `threads` is then that engine's. */
  beside?: WasmEngine | undefined;
  /** A head that is to draft from the model's hidden states; packed into memory as it is read. */
  head?: { config: HeadConfig; vocabulary: DraftVocabulary; reader: TensorReader; format: DenseFormat } | undefined;
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
  const { beside } = options;
  const shared = beside ? beside.memory.banks[0]!.shared : options.threads !== 0;
  const threads = beside?.threads ?? Math.max(1, options.threads ?? availableParallelism());
  const module = await compileWasm({ threads: shared, relaxed: false });
  const { weights, head } = options;
  const layout = 'reader' in weights ? denseLayout(config, weights.format) : weights.layout;
  const memory = new DenseMemory(config, layout, {
    kvBytes: usefulKvBytes(config, options.kvBytes ?? DEFAULT_KV_BYTES),
    threads,
    adapterBytes: options.adapterBytes,
    bankBytes: options.bankBytes,
    shared,
    head: head && { config: head.config, vocabulary: head.vocabulary, layout: headLayout(head.config, head.format) },
  });
  if ('reader' in weights) await packSegments(config, weights.reader, memory, memory.segments);
  else await readSegments(weights, memory);
  memory.finish();
  if (head) await packSegments(head.config.transformer, head.reader, memory, memory.head!.layout.segments);
  const memories = memory.banks.map((bank) => bank.memory);
  return new WasmEngine(memory, beside ? beside.runner.beside(memories) : await startRunner());

  async function startRunner(): Promise<Runner> {
    return shared ? startThreads(module, memories, threads) : createInlineRunner(module, memories);
  }
}

/** Limits the KV cache to what 256 sequences of the whole context could use; an encoder's is as large as its passes need. */
function usefulKvBytes(config: ModelConfig, budgetBytes: number): number {
  if (config.encoder) return ENCODER_PAGES * pageBytes(1, kvWidth(config.attention));
  const perToken = numDecoderLayers(config) * positionBytes(kvWidth(config.attention));
  return Math.min(budgetBytes, 256 * (contextLength(config) + 16) * perToken);
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
async function packSegments(
  config: ModelConfig,
  reader: TensorReader,
  memory: DenseMemory,
  segments: readonly DenseSegment[],
): Promise<void> {
  let held: { name: string; values: Float32Array } | undefined;
  for (const segment of segments) {
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
