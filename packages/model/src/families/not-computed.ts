const DENSE = 'is a dense model: it has no routed experts that tabs could hold';
const LINEAR = 'has layers of linear attention, whose state this version does not keep';
const STATE_SPACE = 'has state-space or convolution layers, whose state this version does not keep';
const INDEXER = 'has attention over positions that an indexer chooses, which this version does not compute';
const ENCODER_DECODER =
  'is an encoder–decoder without routed experts that tabs could hold: give one with experts, as switch-base-8 or nllb-moe-54b';
const EMBEDDER =
  'is an encoder without routed experts that tabs could hold: give a language model, or nomic-embed-text-v2-moe for embeddings';
const SOFTCAP = 'caps its logits or attention scores, which this version does not compute';

/** Why a published architecture is not served, by `model_type`: what a message can say beyond a list of what is. */
export const notComputed: ReadonlyMap<string, string> = new Map([
  ...['mistral', 'mistral3', 'ministral3', 'qwen2', 'qwen3_vl', 'phi3', 'mimo', 'granite', 'olmo2'].map(
    (type) => [type, DENSE] as const,
  ),
  ...['seed_oss', 'smollm3', 'glm4', 'ernie4_5', 'nemotron-nas'].map((type) => [type, DENSE] as const),
  ...['gemma2', 'gemma3', 'gemma3_text'].map((type) => [type, DENSE] as const),
  ...['qwen3_next', 'qwen3_5', 'qwen3_5_moe', 'qwen3_5_moe_text', 'qwen4_exp', 'kimi_linear', 'kimi_k3'].map(
    (type) => [type, LINEAR] as const,
  ),
  ...['bailing_hybrid', 'minimax', 'minimax_text_01', 'minimax_m1', 'glm5_next'].map((type) => [type, LINEAR] as const),
  ...['jamba', 'nemotron_h', 'granitemoehybrid', 'lfm2_moe', 'zamba2', 'bamba', 'falcon_h1'].map(
    (type) => [type, STATE_SPACE] as const,
  ),
  ...[
    'deepseek_v32',
    'deepseek_v4',
    'deepseek_ref',
    'glm_moe_dsa',
    'minimax_m3',
    'minimax_m3_vl',
    'mistral_large4',
  ].map((type) => [type, INDEXER] as const),
  ...['bert', 'roberta', 'xlm-roberta', 'distilbert', 'albert', 'electra', 'deberta', 'deberta-v2', 'mpnet'].map(
    (type) => [type, EMBEDDER] as const,
  ),
  ...['modernbert', 'new', 'eurobert', 'clip', 'siglip', 'vit'].map((type) => [type, EMBEDDER] as const),
  ...['t5', 'mt5', 'umt5', 'longt5', 'bart', 'mbart', 'pegasus', 'm2m_100', 'marian'].map(
    (type) => [type, ENCODER_DECODER] as const,
  ),
  ...['gemma4', 'gemma4_text', 'grok-1', 'muse_spark'].map((type) => [type, SOFTCAP] as const),
  ['phimoe', 'has a gate (SparseMixer) and a RoPE scaling (longrope) that this version does not compute'],
  ['qwen3_vl_moe', 'takes images; this version serves text models, as Qwen3-30B-A3B'],
  ['mimo_v2_flash', 'has heads of different sizes in its windowed layers, which this version does not compute'],
  ['step3p7', 'has numbers of heads that differ by layer, which this version does not compute'],
  ['laguna', 'has numbers of heads that differ by layer, which this version does not compute'],
  [
    'longcat_flash',
    'has two attentions a layer and experts that copy their input, which this version does not compute',
  ],
]);
