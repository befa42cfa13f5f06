import { openWasmEngine } from '@shoal/kernels/node';
import {
  createReferenceEngine,
  loadDenseWeights,
  type ForwardEngine,
  type ModelConfig,
  type TensorReader,
} from '@shoal/model';
import type { DenseFormat } from '@shoal/weights';
import type { Config } from './config.ts';

export interface OpenDenseEngineOptions {
  config: ModelConfig;
  engine: Config['engine'];
  /** A checkpoint; the wasm engine packs it into its memory as `format`. */
  reader: TensorReader;
  /** A packed model's folder, taken instead of the checkpoint where it holds the dense weights. */
  packedDir?: string | undefined;
  format?: DenseFormat | undefined;
  /** Threads that compute; as many as cores by default. wasm only. */
  threads?: number | undefined;
  /** For the KV cache. wasm only. */
  kvBytes?: number | undefined;
}

/** Of a checkpoint's weights in the wasm engine's memory: what checkpoints come in, as good as exact. */
const CHECKPOINT_FORMAT: DenseFormat = 'f16';

/** The engine of that name, its weights loaded. */
export async function openDenseEngine(options: OpenDenseEngineOptions): Promise<ForwardEngine> {
  const { config, reader, packedDir, format = CHECKPOINT_FORMAT } = options;
  if (options.engine === 'reference') {
    return createReferenceEngine({ config, weights: await loadDenseWeights(config, reader) });
  }
  return openWasmEngine({
    config,
    weights: packedDir === undefined ? { reader, format } : { packedDir },
    threads: options.threads,
    kvBytes: options.kvBytes,
  });
}
