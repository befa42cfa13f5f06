import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeRandomCheckpoint } from '../../../tools/random-checkpoint/write.ts';

const DIR = join(import.meta.dirname, '../../../.cache/bench/attention-52m');

/**
 * 52 M attention weights per layer before small experts: at eight rows on two cores about as long as a lap of 20 ms,
 * like a large model's attention on its hardware. The default model's is a hundredth of a lap, too little to fill it.
 */
const CONFIG = {
  architectures: ['DeepseekV3ForCausalLM'],
  model_type: 'deepseek_v3',
  vocab_size: 2048,
  hidden_size: 1536,
  num_hidden_layers: 5,
  first_k_dense_replace: 1,
  intermediate_size: 1024,
  moe_intermediate_size: 64,
  n_routed_experts: 8,
  n_shared_experts: 1,
  num_experts_per_tok: 2,
  n_group: 1,
  topk_group: 1,
  scoring_func: 'sigmoid',
  topk_method: 'noaux_tc',
  norm_topk_prob: true,
  routed_scaling_factor: 1.5,
  num_attention_heads: 128,
  num_key_value_heads: 128,
  q_lora_rank: 2048,
  kv_lora_rank: 256,
  qk_nope_head_dim: 64,
  qk_rope_head_dim: 32,
  v_head_dim: 96,
  rope_theta: 10000,
  rope_scaling: null,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-6,
  num_nextn_predict_layers: 0,
  hidden_act: 'silu',
  attention_bias: false,
  moe_layer_freq: 1,
  tie_word_embeddings: false,
  bos_token_id: 0,
  eos_token_id: 0,
  torch_dtype: 'bfloat16',
};

/** The folder of a random checkpoint whose attention takes about as long as a lap; written once, 0.6 GB. */
export async function heavyModelDir(): Promise<string> {
  const done = join(DIR, 'config.json');
  if (existsSync(done)) return DIR;
  await mkdir(DIR, { recursive: true });
  const configPath = join(DIR, 'wanted.json');
  await writeFile(configPath, JSON.stringify(CONFIG));
  await writeRandomCheckpoint({ configPath, outDir: DIR, seed: 1, fileBytes: 1e9, sparse: false });
  return DIR;
}
