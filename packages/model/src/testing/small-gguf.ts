import { BLOCK_TYPES } from '../gguf/block-types.ts';
import { createRng } from '../rng.ts';
import type { GgufFileInput, GgufInput, GgufTensorInput } from './gguf-bytes.ts';

/** A value for a key, or its removal. */
export type Metadata = Record<string, GgufInput>;

/** A block of the largest types. */
const WIDTH = 256;
const EXPERT_WIDTH = 32;
const VOCAB = ['<|endoftext|>', ...'abcdefghijklmnopqrstuvwxyz0123', 'ab', 'Ġa'];
const [HEADS, KV_HEADS, HEAD_DIM, EXPERTS] = [4, 2, 8, 2];

const METADATA: Metadata = {
  'general.architecture': 'qwen3moe',
  'general.name': 'small',
  'qwen3moe.block_count': 2,
  'qwen3moe.context_length': 64,
  'qwen3moe.embedding_length': WIDTH,
  'qwen3moe.feed_forward_length': WIDTH,
  'qwen3moe.attention.head_count': HEADS,
  'qwen3moe.attention.head_count_kv': KV_HEADS,
  'qwen3moe.attention.key_length': HEAD_DIM,
  'qwen3moe.attention.value_length': HEAD_DIM,
  'qwen3moe.attention.layer_norm_rms_epsilon': { f32: 1e-6 },
  'qwen3moe.rope.freq_base': { f32: 1e6 },
  'qwen3moe.expert_count': EXPERTS,
  'qwen3moe.expert_used_count': 1,
  'qwen3moe.expert_feed_forward_length': EXPERT_WIDTH,
  'tokenizer.ggml.model': 'gpt2',
  'tokenizer.ggml.pre': 'qwen2',
  'tokenizer.ggml.tokens': VOCAB,
  'tokenizer.ggml.token_type': { i32s: VOCAB.map((_, id) => (id === 0 ? 3 : 1)) },
  'tokenizer.ggml.merges': ['a b', 'Ġ a'],
  'tokenizer.ggml.eos_token_id': 0,
  'tokenizer.chat_template': '{% for m in messages %}{{ m.content }}{% endfor %}',
};

/** Every type that is read, each in one tensor at least. */
const TENSORS: readonly [name: string, shape: number[], type: string][] = [
  ['token_embd.weight', [VOCAB.length, WIDTH], 'Q6_K'],
  ['output_norm.weight', [WIDTH], 'F32'],
  ['output.weight', [VOCAB.length, WIDTH], 'Q8_0'],
  ...layer(0, { q: 'Q4_K', k: 'Q5_K', v: 'BF16', output: 'Q4_0', gate: 'Q4_1', up: 'Q5_0', down: 'Q5_1' }),
  ...layer(1, { q: 'Q2_K', k: 'Q3_K', v: 'IQ4_XS', output: 'IQ4_NL', gate: 'MXFP4', up: 'MXFP4', down: 'F16' }),
];

function layer(
  index: number,
  types: Record<'q' | 'k' | 'v' | 'output' | 'gate' | 'up' | 'down', string>,
): [name: string, shape: number[], type: string][] {
  const block = `blk.${index}.`;
  return [
    [`${block}attn_norm.weight`, [WIDTH], 'F32'],
    [`${block}attn_q.weight`, [HEADS * HEAD_DIM, WIDTH], types.q],
    [`${block}attn_k.weight`, [KV_HEADS * HEAD_DIM, WIDTH], types.k],
    [`${block}attn_v.weight`, [KV_HEADS * HEAD_DIM, WIDTH], types.v],
    [`${block}attn_output.weight`, [WIDTH, HEADS * HEAD_DIM], types.output],
    [`${block}attn_q_norm.weight`, [HEAD_DIM], 'F32'],
    [`${block}attn_k_norm.weight`, [HEAD_DIM], 'F32'],
    [`${block}ffn_norm.weight`, [WIDTH], 'F32'],
    [`${block}ffn_gate_inp.weight`, [EXPERTS, WIDTH], 'F32'],
    [`${block}ffn_gate_exps.weight`, [EXPERTS, EXPERT_WIDTH, WIDTH], types.gate],
    [`${block}ffn_up_exps.weight`, [EXPERTS, EXPERT_WIDTH, WIDTH], types.up],
    [`${block}ffn_down_exps.weight`, [EXPERTS, WIDTH, EXPERT_WIDTH], types.down],
  ];
}

/** A Qwen3-MoE model with weights of every type that is read. */
export function smallGguf(): GgufFileInput & { metadata: [string, GgufInput][]; tensors: GgufTensorInput[] } {
  const rng = createRng(13);
  const tensors = TENSORS.map(([name, shape, type]) => {
    const [number, { blockValues, blockBytes }] = [...BLOCK_TYPES].find(([, { name: known }]) => known === type)!;
    const blocks = shape.reduce((a, b) => a * b, 1) / blockValues;
    // No byte reaches the exponent of NaN or infinity, whether of float16, bfloat16 or float32.
    const bytes = Uint8Array.from({ length: blocks * blockBytes }, () => Math.floor(rng() * 0x70));
    return { name, shape, type: number, bytes };
  });
  return { metadata: Object.entries(METADATA), tensors };
}
