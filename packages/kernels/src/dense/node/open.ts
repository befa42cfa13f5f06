import { type FileHandle, open } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { kvWidth, type ModelConfig, type TensorReader } from '@shoal/model';
import { readFully } from '@shoal/model/node';
import {
  DENSE_FILE,
  denseLayout,
  packDenseEntry,
  readDenseHeader,
  WeightsError,
  type DenseFormat,
  type DenseLayout,
} from '@shoal/weights';
import { compileWasm } from '../../wasm/node.ts';
import { DenseMemory } from '../dense-memory.ts';
import { createInlineRunner } from '../runner.ts';
import { WasmEngine } from '../wasm-engine.ts';
import { startThreads } from './threads.ts';

export interface WasmEngineOptions {
  config: ModelConfig;
  /** A packed model's folder; or a checkpoint, packed into memory as it is read. */
  weights: { packedDir: string } | { reader: TensorReader; format: DenseFormat };
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
  const packed = 'packedDir' in options.weights ? await openDenseFile(config, options.weights.packedDir) : undefined;
  try {
    const layout = packed?.layout ?? denseLayout(config, (options.weights as { format: DenseFormat }).format);
    const memory = new DenseMemory(config, layout, {
      kvBytes: usefulKvBytes(config, options.kvBytes ?? DEFAULT_KV_BYTES),
      threads,
      bankBytes: options.bankBytes,
      shared,
    });
    if (packed) await readSegments(packed.file, packed.path, memory);
    else await packSegments(config, (options.weights as { reader: TensorReader }).reader, memory);
    const memories = memory.banks.map((bank) => bank.memory);
    const runner = shared ? await startThreads(module, memories, threads) : createInlineRunner(module, memories);
    return new WasmEngine(memory, runner);
  } finally {
    await packed?.file.close();
  }
}

/** Limits the KV cache to what 256 sequences of the whole context could use. */
function usefulKvBytes(config: ModelConfig, budgetBytes: number): number {
  const perToken = config.numHiddenLayers * kvWidth(config.attention) * 2;
  return Math.min(budgetBytes, 256 * (config.maxPositionEmbeddings + 16) * perToken);
}

async function openDenseFile(
  config: ModelConfig,
  dir: string,
): Promise<{ file: FileHandle; path: string; layout: DenseLayout }> {
  const path = join(dir, DENSE_FILE);
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw new WeightsError('not-packed', `${path} cannot be opened; pack the model again`, { cause });
  });
  try {
    const { size } = await file.stat();
    const layout = await readDenseHeader(config, path, size, async (offset, bytes) => {
      const target = new Uint8Array(bytes);
      await readInto(file, path, target, offset);
      return target;
    });
    return { file, path, layout };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Reads straight into the memory that the kernels use. */
async function readSegments(file: FileHandle, path: string, memory: DenseMemory): Promise<void> {
  for (const segment of memory.segments) await readInto(file, path, memory.bytesOf(segment), segment.offset);
}

async function readInto(file: FileHandle, path: string, target: Uint8Array, offset: number): Promise<void> {
  const read = await readFully(file, target, offset);
  if (read === target.byteLength) return;
  throw new WeightsError('corrupt', `${path} ends at byte ${offset + read}; pack the model again`);
}

/** Packs a checkpoint into memory, some rows at a time as float32, or whole tensors if its reader cannot read rows. */
async function packSegments(config: ModelConfig, reader: TensorReader, memory: DenseMemory): Promise<void> {
  let held: { name: string; values: Float32Array } | undefined;
  for (const segment of memory.segments) {
    for (const entry of segment.entries) {
      const { name, shape } = entry.source.tensor;
      const columns = shape[1] ?? 1;
      const rows = async (start: number, count: number): Promise<Float32Array> => {
        if (reader.readRows) return reader.readRows(name, shape, start, count);
        if (held?.name !== name) held = { name, values: await reader.read(name, shape) };
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
