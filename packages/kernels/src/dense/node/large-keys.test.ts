import {
  createReferenceEngine,
  loadDenseWeights,
  type ModelConfig,
  parseModelConfig,
  type TensorReader,
} from '@shoal/model';
import type { DenseFormat } from '@shoal/weights';
import { afterEach, describe, expect, it } from 'vitest';
import { nmse } from '../../testing/numbers.ts';
import { config as mla, experts, reader } from '../testing/small-model.ts';
import type { WasmEngine } from '../wasm-engine.ts';
import { openWasmEngine } from './open.ts';

/** Queries are divided by this, and keys, latents and values multiplied: up to about 1e5. */
const FACTOR = 2 ** 17;

const gqa = parseModelConfig({
  model_type: 'mixtral',
  architectures: ['MixtralForCausalLM'],
  vocab_size: 53,
  hidden_size: 42,
  intermediate_size: 9,
  num_hidden_layers: 3,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 10,
  num_local_experts: 6,
  num_experts_per_tok: 2,
  rope_theta: 100,
  max_position_embeddings: 200,
  rms_norm_eps: 1e-5,
  hidden_act: 'silu',
  tie_word_embeddings: false,
  sliding_window: null,
  bos_token_id: 0,
  eos_token_id: 0,
});

/** The same function as the model of `reader`, with factors of two in its weights that cancel out. */
function enlarged(config: ModelConfig): TensorReader {
  const firstKeyRow = config.attention.kind === 'mla' ? config.attention.kvLoraRank : 0;
  const factorOf = (name: string): number => {
    if (/kv_a_layernorm|self_attn\.[kv]_proj|kv_a_proj_with_mqa/.test(name)) return FACTOR;
    return /q_b_proj|self_attn\.q_proj|o_proj/.test(name) ? 1 / FACTOR : 1;
  };
  return {
    read: async (spec) => {
      const { name, shape } = spec;
      const values = await reader.read(spec);
      const first = name.includes('kv_a_proj_with_mqa') ? firstKeyRow * shape[1]! : 0;
      return values.map((value, i) => (i < first ? value : value * factorOf(name)));
    },
  };
}

const open: WasmEngine[] = [];
afterEach(async () => {
  for (const engine of open.splice(0)) await engine.close();
});

async function logitsOf(config: ModelConfig, weights: TensorReader, format?: DenseFormat): Promise<number[]> {
  const wasm = format && (await openWasmEngine({ config, weights: { reader: weights, format }, threads: 0 }));
  if (wasm) open.push(wasm);
  const engine = wasm ?? createReferenceEngine({ config, weights: await loadDenseWeights(config, weights) });
  const cache = engine.newSequence();
  const rows = Array.from({ length: 40 }, (_, position) => {
    return { tokenId: (position * 7 + 1) % 53, position, cache, wantLogits: true };
  });
  return (await engine.forward(rows, experts)).logits.flatMap((row) => [...row!]);
}

describe.each([
  ['MLA', mla],
  ['GQA', gqa],
])('keys and values beyond f16 in %s', (_, config) => {
  it('are cached with the precision of small ones', async () => {
    const expected = await logitsOf(config, reader);
    expect(await logitsOf(config, enlarged(config))).toEqual(expected);
    const small = await logitsOf(config, reader, 'f32');
    const large = await logitsOf(config, enlarged(config), 'f32');
    expect(nmse(large, expected)).toBeLessThan(1.1 * nmse(small, expected));
    expect(nmse(small, expected)).toBeLessThan(1e-6);
  });
});
