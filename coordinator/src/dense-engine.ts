import { openWasmEngine, type WasmEngine } from '@shoal/kernels/node';
import {
  createReferenceEncoder,
  createReferenceEngine,
  createReferenceSeq2Seq,
  type DraftVocabulary,
  type HeadConfig,
  loadDenseWeights,
  loadEncoderWeights,
  loadHeadWeights,
  loadSeq2SeqWeights,
  type ForwardEngine,
  type ModelConfig,
  type TensorReader,
} from '@shoal/model';
import type { DenseFormat, PackedDense } from '@shoal/weights';
import type { Config } from './config.ts';

export interface OpenDenseEngineOptions {
  config: ModelConfig;
  engine: Config['engine'];
  /** A checkpoint, which the wasm engine packs into its memory as `format`. */
  reader: TensorReader;
  /** A packed model's dense weights, used instead of the checkpoint. */
  packed?: PackedDense | undefined;
  format?: DenseFormat | undefined;
  /** One per core by default; wasm only. */
  threads?: number | undefined;
  /** For the KV cache; wasm only. */
  kvBytes?: number | undefined;
  /** For adapters; none can be loaded by default. wasm only. */
  adapterBytes?: number | undefined;
  /** A wasm engine to share the threads of. */
  beside?: WasmEngine | undefined;
  /** A head that is to draft; the wasm engine packs it into its memory in the format of the model's weights. */
  head?: { config: HeadConfig; vocabulary: DraftVocabulary; reader: TensorReader } | undefined;
}

/** For a checkpoint in the wasm engine's memory: nearly exact, since checkpoints are bf16 or f16. */
const CHECKPOINT_FORMAT: DenseFormat = 'f16';

/** Opens the dense engine of that name with its weights loaded. */
export async function openDenseEngine(options: OpenDenseEngineOptions): Promise<ForwardEngine> {
  const { config, reader, packed, head, format = CHECKPOINT_FORMAT } = options;
  if (options.engine === 'reference') {
    if (config.seq2seq) return createReferenceSeq2Seq({ config, weights: await loadSeq2SeqWeights(config, reader) });
    if (config.encoder) return createReferenceEncoder({ config, weights: await loadEncoderWeights(config, reader) });
    const own = head && { ...head, weights: await loadHeadWeights(head.config, head.reader) };
    return createReferenceEngine({ config, weights: await loadDenseWeights(config, reader) }, own);
  }
  return openWasmEngine({
    config,
    weights: packed ?? { reader, format },
    threads: options.threads,
    kvBytes: options.kvBytes,
    adapterBytes: options.adapterBytes,
    beside: options.beside,
    head: head && { ...head, format: packed?.layout.format ?? format },
  });
}
