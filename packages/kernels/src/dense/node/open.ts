import { open as openFile, readFile, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { kvWidth, type ModelConfig, type TensorReader } from '@shoal/model';
import {
  DENSE_FILE,
  denseLayout,
  packDenseEntry,
  readDenseHeader,
  WeightsError,
  type DenseFormat,
  type DenseLayout,
} from '@shoal/weights';
import { DenseMemory } from '../dense-memory.ts';
import { createInlineRunner } from '../runner.ts';
import { WasmEngine } from '../wasm-engine.ts';
import { startThreads } from './threads.ts';

export interface WasmEngineOptions {
  config: ModelConfig;
  /** A packed model's folder; or a checkpoint, packed into memory as it is read. */
  weights: { packedDir: string } | { reader: TensorReader; format: DenseFormat };
  /** Threads that compute; as many as the machine has cores by default, 0: the calling thread itself. */
  threads?: number | undefined;
  /** For the KV cache; reserved, and used as sequences grow. */
  kvBytes?: number | undefined;
  /** Limit of one memory, below WebAssembly's own of 4 GiB: for tests. */
  bankBytes?: number | undefined;
}

/** What a few hundred thousand positions of a small model take, and some thousands of V3's. */
export const DEFAULT_KV_BYTES = 512 * 1024 * 1024;
const DIST = fileURLToPath(new URL('../../../dist', import.meta.url));
/** One read call at most: a file's bytes go straight to where the kernels read them. */
const READ_BYTES = 64 * 1024 * 1024;

/**
 * The engine with its weights loaded and its threads started. Throws WeightsError where weights are missing or damaged, a
 * RangeError where they don't fit.
 */
export async function openWasmEngine(options: WasmEngineOptions): Promise<WasmEngine> {
  const { config } = options;
  const shared = options.threads !== 0;
  const threads = Math.max(1, options.threads ?? availableParallelism());
  const module = await compile(shared);
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

/** No more than 256 sequences of the whole context could use. */
function usefulKvBytes(config: ModelConfig, budgetBytes: number): number {
  const perToken = config.numHiddenLayers * kvWidth(config.attention) * 2;
  return Math.min(budgetBytes, 256 * (config.maxPositionEmbeddings + 16) * perToken);
}

async function compile(shared: boolean): Promise<WebAssembly.Module> {
  const path = join(DIST, shared ? 'shoal-threads.wasm' : 'shoal.wasm');
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new Error(`${path} is missing: run node packages/kernels/wasm/build.mjs`, { cause });
  });
  return WebAssembly.compile(bytes);
}

type OpenFile = Awaited<ReturnType<typeof openFile>>;

async function openDenseFile(
  config: ModelConfig,
  dir: string,
): Promise<{ file: OpenFile; path: string; layout: DenseLayout }> {
  const path = join(dir, DENSE_FILE);
  const file = await openFile(path, 'r').catch((cause: unknown) => {
    throw new WeightsError('not-packed', `${path} cannot be opened; pack the model again`, { cause });
  });
  try {
    const { size } = await stat(path);
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

async function readSegments(file: OpenFile, path: string, memory: DenseMemory): Promise<void> {
  for (const segment of memory.segments) await readInto(file, path, memory.bytesOf(segment), segment.offset);
}

async function readInto(file: OpenFile, path: string, target: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < target.byteLength;) {
    const piece = target.subarray(done, Math.min(done + READ_BYTES, target.byteLength));
    const { bytesRead } = await file.read(piece, 0, piece.byteLength, offset + done);
    if (bytesRead === 0)
      throw new WeightsError('corrupt', `${path} ends at byte ${offset + done}; pack the model again`);
    done += bytesRead;
  }
}

/** From a checkpoint: some rows at a time as float32 (one tensor, where its reader knows no rows). */
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
