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

/** Writes an EAGLE-3 head with random weights in its authors' layout; its tokens are every third. */
export async function writeRandomHead(dir: string, head: RandomHead): Promise<void> {
  const { hiddenSize: hidden, vocabSize, draftVocabSize, layers } = head;
  const [heads, kvHeads, headDim, width] = [4, 2, 16, 96];
  const config = {
    architectures: ['LlamaForCausalLMEagle3'],
    model_type: 'llama',
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
    draft_vocab_size: draftVocabSize,
    eagle_aux_hidden_state_layer_ids: layers,
  };
  const rng = createRng(14);
  const tensors: Tensors = {};
  const matrix = (name: string, rows: number, cols: number): void => {
    const values = Float32Array.from({ length: rows * cols }, () => (rng() - 0.5) * Math.sqrt(12 / cols));
    tensors[`${name}.weight`] = { shape: [rows, cols], values };
  };
  const norm = (name: string): void => {
    tensors[`${name}.weight`] = { shape: [hidden], values: new Float32Array(hidden).fill(1) };
  };
  matrix('fc', hidden, layers.length * hidden);
  for (const [part, rows] of Object.entries({ q: heads, k: kvHeads, v: kvHeads }))
    matrix(`midlayer.self_attn.${part}_proj`, rows * headDim, 2 * hidden);
  matrix('midlayer.self_attn.o_proj', hidden, heads * headDim);
  matrix('midlayer.mlp.gate_proj', width, hidden);
  matrix('midlayer.mlp.up_proj', width, hidden);
  matrix('midlayer.mlp.down_proj', hidden, width);
  for (const name of ['midlayer.hidden_norm', 'midlayer.input_layernorm', 'midlayer.post_attention_layernorm', 'norm'])
    norm(name);
  matrix('lm_head', draftVocabSize, hidden);
  tensors['d2t'] = {
    shape: [draftVocabSize],
    values: BigInt64Array.from({ length: draftVocabSize }, (_, i) => BigInt(2 * i)),
  };
  await writeFile(join(dir, 'config.json'), JSON.stringify(config));
  await writeTensors(join(dir, 'model.safetensors'), tensors);
}
