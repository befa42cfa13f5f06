/** GGUF's names of a layer's tensors by Shoal's (`TensorSpec.name`), as in gguf-py's constants.py. Some have been renamed. */
const LAYER_NAMES: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries({
    'input_layernorm.weight': ['attn_norm.weight'],
    // GLM-4.5 and gpt-oss call it after what it follows, the others after what it precedes.
    'post_attention_layernorm.weight': ['ffn_norm.weight', 'post_attention_norm.weight'],
    ...projections('self_attn.q_proj', 'attn_q'),
    ...projections('self_attn.k_proj', 'attn_k'),
    ...projections('self_attn.v_proj', 'attn_v'),
    ...projections('self_attn.o_proj', 'attn_output'),
    ...projections('self_attn.q_norm', 'attn_q_norm'),
    ...projections('self_attn.k_norm', 'attn_k_norm'),
    'self_attn.sinks': ['attn_sinks.weight'],
    ...projections('self_attn.q_a_proj', 'attn_q_a'),
    ...projections('self_attn.q_a_layernorm', 'attn_q_a_norm'),
    ...projections('self_attn.q_b_proj', 'attn_q_b'),
    ...projections('self_attn.kv_a_proj_with_mqa', 'attn_kv_a_mqa'),
    ...projections('self_attn.kv_a_layernorm', 'attn_kv_a_norm'),
    ...projections('self_attn.kv_b_proj', 'attn_kv_b'),
    ...projections('mlp.gate', 'ffn_gate_inp'),
    'mlp.gate.e_score_correction_bias': ['exp_probs_b.bias', 'exp_probs_b'],
    ...projections('mlp.gate_proj', 'ffn_gate'),
    ...projections('mlp.up_proj', 'ffn_up'),
    ...projections('mlp.down_proj', 'ffn_down'),
    ...projections('mlp.shared_experts.gate_proj', 'ffn_gate_shexp'),
    ...projections('mlp.shared_experts.up_proj', 'ffn_up_shexp'),
    ...projections('mlp.shared_experts.down_proj', 'ffn_down_shexp'),
    ...projections('mlp.shared_expert_gate', 'ffn_gate_inp_shexp'),
    'enorm.weight': ['nextn.enorm.weight'],
    'hnorm.weight': ['nextn.hnorm.weight'],
    'eh_proj.weight': ['nextn.eh_proj.weight'],
    'shared_head.norm.weight': ['nextn.shared_head_norm.weight'],
  }),
);

const MODEL_NAMES: ReadonlyMap<string, string> = new Map([
  ['model.embed_tokens.weight', 'token_embd.weight'],
  ['model.norm.weight', 'output_norm.weight'],
  ['lm_head.weight', 'output.weight'],
]);

function projections(name: string, gguf: string): Record<string, readonly string[]> {
  return { [`${name}.weight`]: [`${gguf}.weight`], [`${name}.bias`]: [`${gguf}.bias`] };
}

/** What a tensor may be called in GGUF. */
export interface GgufNames {
  layer: number | undefined;
  /** Any of these. */
  names: readonly string[];
  /** The routed expert whose part of the stored stack it is. */
  expert?: { index: number; matrix: 'gate' | 'up' | 'down'; suffix: 'weight' | 'bias' };
}

const LAYER = /^model\.layers\.(\d+)\.(.+)$/;
const EXPERT = /^mlp\.experts\.(\d+)\.(gate|up|down)_proj\.(weight|bias)$/;

/** Throws a TypeError for a name that no TensorSpec has. */
export function ggufNames(name: string): GgufNames {
  const [, layer, rest] = LAYER.exec(name) ?? [];
  if (layer === undefined || rest === undefined) {
    const whole = MODEL_NAMES.get(name);
    if (whole === undefined) throw new TypeError(`no tensor is called ${name}`);
    return { layer: undefined, names: [whole] };
  }
  const block = `blk.${layer}.`;
  const [, index, matrix, suffix] = EXPERT.exec(rest) ?? [];
  if (index !== undefined) {
    const expert = { index: Number(index), matrix, suffix } as NonNullable<GgufNames['expert']>;
    return { layer: Number(layer), names: [`${block}ffn_${matrix}_exps.${suffix}`], expert };
  }
  const names = LAYER_NAMES.get(rest);
  if (!names) throw new TypeError(`no tensor is called ${name}`);
  return { layer: Number(layer), names: names.map((one) => `${block}${one}`) };
}

/** Divisors of RoPE's frequencies, one for each pair, as which llama.cpp's converter writes Llama 3's scaling. */
export const ROPE_FACTORS = 'rope_freqs.weight';

/** Tensors that are computed from the config, or that an MTP module shares with the main model. */
export const REDUNDANT: readonly RegExp[] = [
  /^blk\.\d+\.attn_rot_embd\.weight$/,
  /^blk\.\d+\.nextn\.(embed_tokens|shared_head_head)\.weight$/,
];
