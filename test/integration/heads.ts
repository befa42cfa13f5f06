import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createRng, PREFIX_BYTES } from '@shoal/model';

/** Tensors of a safetensors file: float32, or whole numbers of 64 bits. */
export type Tensors = Record<string, { shape: readonly number[]; values: Float32Array | BigInt64Array<ArrayBuffer> }>;

export async function writeTensors(path: string, tensors: Tensors): Promise<void> {
  const header: Record<string, object> = {};
  const data: Uint8Array[] = [];
  let end = 0;
  for (const [name, { shape, values }] of Object.entries(tensors)) {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    const dtype = values instanceof Float32Array ? 'F32' : 'I64';
    header[name] = { dtype, shape, data_offsets: [end, (end += bytes.byteLength)] };
    data.push(bytes);
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(PREFIX_BYTES);
  length.writeBigUInt64LE(BigInt(text.length));
  await writeFile(path, Buffer.concat([length, text, ...data]));
}

export interface RandomHead {
  hiddenSize: number;
  vocabSize: number;
  draftVocabSize: number;
  layers: readonly number[];
}

/** Writes a head with random weights in its authors' layout. An EAGLE-3 head's tokens are every third, a DFlash head's are the model's. */
export async function writeRandomHead(dir: string, kind: 'eagle3' | 'dflash', head: RandomHead): Promise<void> {
  const { hiddenSize: hidden, vocabSize, draftVocabSize, layers } = head;
  const [heads, kvHeads, headDim, width] = [4, 2, 16, 96];
  const isEagle = kind === 'eagle3';
  const config = {
    architectures: [isEagle ? 'LlamaForCausalLMEagle3' : 'DFlashDraftModel'],
    model_type: isEagle ? 'llama' : 'qwen3',
    hidden_size: hidden,
    intermediate_size: width,
    num_hidden_layers: 1,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    hidden_act: 'silu',
    rms_norm_eps: 1e-6,
    max_position_embeddings: 2048,
    vocab_size: vocabSize,
    ...(isEagle
      ? { draft_vocab_size: draftVocabSize, eagle_aux_hidden_state_layer_ids: layers }
      : { block_size: 6, dflash_config: { mask_token_id: 3, target_layer_ids: layers.map((id) => id - 1) } }),
  };
  const rng = createRng(14);
  const tensors: Tensors = {};
  const matrix = (name: string, rows: number, cols: number): void => {
    const values = Float32Array.from({ length: rows * cols }, () => (rng() - 0.5) * Math.sqrt(12 / cols));
    tensors[`${name}.weight`] = { shape: [rows, cols], values };
  };
  const norm = (name: string, size = hidden): void => {
    tensors[`${name}.weight`] = { shape: [size], values: new Float32Array(size).fill(1) };
  };
  const layer = isEagle ? 'midlayer' : 'layers.0';
  matrix('fc', hidden, layers.length * hidden);
  for (const [part, rows] of Object.entries({ q: heads, k: kvHeads, v: kvHeads }))
    matrix(`${layer}.self_attn.${part}_proj`, rows * headDim, (isEagle ? 2 : 1) * hidden);
  matrix(`${layer}.self_attn.o_proj`, hidden, heads * headDim);
  matrix(`${layer}.mlp.gate_proj`, width, hidden);
  matrix(`${layer}.mlp.up_proj`, width, hidden);
  matrix(`${layer}.mlp.down_proj`, hidden, width);
  for (const name of [`${layer}.input_layernorm`, `${layer}.post_attention_layernorm`, 'norm']) norm(name);
  norm(isEagle ? `${layer}.hidden_norm` : 'hidden_norm');
  if (isEagle) {
    matrix('lm_head', draftVocabSize, hidden);
    const values = BigInt64Array.from({ length: draftVocabSize }, (_, i) => BigInt(2 * i));
    tensors['d2t'] = { shape: [draftVocabSize], values };
  } else for (const part of ['q', 'k']) norm(`${layer}.self_attn.${part}_norm`, headDim);
  await writeFile(join(dir, 'config.json'), JSON.stringify(config));
  await writeTensors(join(dir, 'model.safetensors'), tensors);
}
