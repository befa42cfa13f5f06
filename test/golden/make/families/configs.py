"""What the fixtures are made of: one small model per family and interesting choice. Sizes are small and unlike each other, so
that a mixed-up dimension shows; contexts are short, so that YaRN's original length is exceeded within 112 tokens."""
from transformers import (
    DeepseekV2Config, DeepseekV3Config, Dots1Config, Ernie4_5_MoeConfig, Glm4MoeConfig, Glm4MoeLiteConfig, GptOssConfig,
    GraniteMoeConfig, HunYuanMoEV1Config, Llama4TextConfig,
    LlamaConfig, MiniMaxM2Config, MixtralConfig, OlmoeConfig, Qwen2MoeConfig, Qwen3Config, Qwen3MoeConfig)

from publish import as_hunyuan, as_kimi_k25, as_llama4, with_top_level_rope

VOCAB = 112
CONTEXT = 128


def yarn(mscale=None, mscale_all_dim=None):
    """Factor 4 from 32 positions, so that most of every sequence lies beyond the original length."""
    keys = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 32.0, "beta_slow": 1.0}
    if mscale is not None:
        keys |= {"mscale": mscale, "mscale_all_dim": mscale_all_dim}
    return keys


COMMON = dict(vocab_size=VOCAB, max_position_embeddings=CONTEXT, bos_token_id=0, eos_token_id=1, pad_token_id=None)

MLA = dict(
    **COMMON, hidden_size=48, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=3, q_lora_rank=None,
    kv_lora_rank=20, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=10, intermediate_size=72, moe_intermediate_size=20,
    n_routed_experts=8, n_shared_experts=2, num_experts_per_tok=3, first_k_dense_replace=1, n_group=1, topk_group=1,
    norm_topk_prob=True, routed_scaling_factor=1.0,
)

GQA = dict(**COMMON, hidden_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2)

# For the families added since, which have a smaller vocabulary, and sequences of at most 101 tokens.
SMALL = dict(vocab_size=48, max_position_embeddings=112, bos_token_id=0, eos_token_id=1, pad_token_id=None)

SMALL_GQA = dict(**SMALL, hidden_size=28, num_attention_heads=4, num_key_value_heads=2)

SMALL_MLA = dict(
    **SMALL, hidden_size=28, num_attention_heads=2, num_key_value_heads=2, q_lora_rank=14, kv_lora_rank=12, qk_nope_head_dim=8,
    qk_rope_head_dim=6, v_head_dim=10, intermediate_size=20, moe_intermediate_size=10, n_shared_experts=1, n_group=1, topk_group=1,
    norm_topk_prob=True)

V2 = dict(scoring_func="softmax", moe_layer_freq=1, num_nextn_predict_layers=0)
V3 = dict(topk_method="noaux_tc", scoring_func="sigmoid", moe_layer_freq=1, num_nextn_predict_layers=0)


class Fixture:
    """`extra` goes into config.json beyond what transformers writes: keys that published files have. `publish` makes the tensors
    and the config.json that are published of those that transformers writes."""

    def __init__(self, name, config, about, extra=None, negative_bias=False, fp8=False, shards=1, generation=None,
                 tokenizer=None, embed_std=1.0, small=False, mtp=False, mxfp4=False, publish=None, score_bias_std=0.2, gate_up_std=1.3):
        self.name, self.config, self.about, self.extra = name, config, about, extra or {}
        self.small, self.mtp, self.mxfp4, self.publish = small, mtp, mxfp4, publish
        self.score_bias_std, self.gate_up_std = score_bias_std, gate_up_std
        self.negative_bias, self.fp8, self.shards = negative_bias, fp8, shards
        self.generation, self.tokenizer, self.embed_std = generation, tokenizer or {}, embed_std


FIXTURES = [
    Fixture("deepseek-v2-lite", DeepseekV2Config(**MLA | dict(
        norm_topk_prob=False, topk_method="greedy", rope_parameters=yarn(0.707, 0.707) | {"rope_theta": 10000.0})),
        "greedy, q_lora_rank null, YaRN with equal mscales (as V2-Lite)", V2),
    Fixture("deepseek-v2-grouped", DeepseekV2Config(**MLA | dict(
        q_lora_rank=28, norm_topk_prob=False, topk_method="group_limited_greedy", n_group=4, topk_group=2,
        routed_scaling_factor=4.0, rope_parameters=yarn(1.0, 0.7) | {"rope_theta": 10000.0})),
        "group_limited_greedy, weights scaled, YaRN with unequal mscales", V2),
    Fixture("deepseek-v2-normalised", DeepseekV2Config(**MLA | dict(
        topk_method="greedy", routed_scaling_factor=4.0, tie_word_embeddings=True, rms_norm_eps=1e-3)),
        "weights normalised instead of scaled, tied embeddings, rms_norm_eps unlike the latents' 1e-6", V2, embed_std=0.3),
    Fixture("deepseek-v3", DeepseekV3Config(**MLA | dict(
        q_lora_rank=28, n_group=4, topk_group=2, routed_scaling_factor=2.5, n_shared_experts=1,
        rope_parameters=yarn(1.0, 1.0) | {"rope_theta": 10000.0})),
        "noaux_tc with groups, every biased score negative, YaRN (as V3)", V3, negative_bias=True),
    Fixture("deepseek-v3-unnormalised", DeepseekV3Config(**MLA | dict(
        n_group=2, topk_group=1, num_experts_per_tok=2, norm_topk_prob=False, routed_scaling_factor=1.5, n_shared_experts=1,
        rms_norm_eps=1e-3)),
        "noaux_tc without normalisation, rms_norm_eps unlike the latents' 1e-6; config.json without topk_method and scoring_func"),
    Fixture("deepseek-v3-fp8", DeepseekV3Config(**MLA | dict(
        hidden_size=144, num_hidden_layers=2, q_lora_rank=36, kv_lora_rank=132, v_head_dim=48, n_routed_experts=4, n_shared_experts=1,
        num_experts_per_tok=2, n_group=2, topk_group=1, moe_intermediate_size=136, intermediate_size=130,
        routed_scaling_factor=2.5)),
        "FP8 e4m3 in blocks of 128 x 128 with ragged edges", V3, fp8=True),
    Fixture("moonlight", DeepseekV3Config(**MLA | dict(
        routed_scaling_factor=2.446, rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 50000.0})),
        "deepseek_v3 without groups, q_lora_rank null, no YaRN (as Moonlight)", V3),
    Fixture("qwen3-moe", Qwen3MoeConfig(**GQA | dict(
        head_dim=20, num_experts=8, num_experts_per_tok=3, moe_intermediate_size=20, intermediate_size=72,
        norm_topk_prob=True, mlp_only_layers=[0], rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})),
        "head_dim unlike hidden_size / heads, a dense layer by mlp_only_layers; end tokens from generation_config.json",
        generation={"eos_token_id": [1, 3], "do_sample": True, "temperature": 0.6, "top_p": 0.95},
        tokenizer={"add_bos_token": False}),
    Fixture("qwen3-moe-yarn", Qwen3MoeConfig(**GQA | dict(
        num_hidden_layers=4, head_dim=12, num_experts=8, num_experts_per_tok=2, moe_intermediate_size=20, intermediate_size=72,
        norm_topk_prob=False, decoder_sparse_step=2, tie_word_embeddings=True,
        rope_parameters=yarn() | {"rope_theta": 10000.0})),
        "YaRN without mscale, dense layers by decoder_sparse_step, tied embeddings, weights not normalised",
        embed_std=0.3, tokenizer={"add_bos_token": False}),
    Fixture("olmoe", OlmoeConfig(**GQA | dict(
        bos_token_id=None, num_key_value_heads=4, num_experts=8, num_experts_per_tok=3, intermediate_size=20,
        norm_topk_prob=False, clip_qkv=0.8)),
        "norms over the whole projection, clip_qkv in force, no begin-of-text token (as OLMoE)",
        tokenizer={"bos_token": None, "add_bos_token": False}),
    Fixture("olmoe-grouped-heads", OlmoeConfig(**GQA | dict(
        num_experts=8, num_experts_per_tok=2, intermediate_size=20, norm_topk_prob=True, clip_qkv=None)),
        "fewer key heads than query heads, weights normalised"),
    Fixture("mixtral", MixtralConfig(**GQA | dict(
        num_local_experts=6, num_experts_per_tok=2, intermediate_size=20, eos_token_id=[1, 3],
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})),
        "block_sparse_moe names, three shards with an index, a list of end tokens", shards=3),
    Fixture("gpt-oss", GptOssConfig(**SMALL_GQA | dict(
        num_hidden_layers=2, head_dim=10, intermediate_size=10,
        num_local_experts=5, num_experts_per_tok=2, sliding_window=24, layer_types=None,
        rope_parameters={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 32.0,
                         "beta_slow": 1.0, "truncate": False, "rope_theta": 150000.0})),
        "a window in every second layer, sinks, biases everywhere, clamps in force, YaRN between pairs (as gpt-oss)",
        dict(experts_per_token=2, initial_context_length=32), small=True, gate_up_std=4),
    Fixture("glm4-moe", Glm4MoeConfig(**SMALL_GQA | dict(
        num_hidden_layers=2, head_dim=12, intermediate_size=20, moe_intermediate_size=10, n_routed_experts=4, num_experts_per_tok=2,
        n_shared_experts=1, first_k_dense_replace=1, routed_scaling_factor=1.5, attention_bias=True, num_nextn_predict_layers=1,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5})),
        "biases of q, k and v, half of each head rotated, an MTP module (as GLM-4.5-Air)",
        small=True, mtp=True, publish=with_top_level_rope()),
    Fixture("glm4-moe-qk-norm", Glm4MoeConfig(**SMALL_GQA | dict(
        num_hidden_layers=2, head_dim=14, intermediate_size=20, moe_intermediate_size=10, n_routed_experts=6, num_experts_per_tok=3,
        n_shared_experts=2, first_k_dense_replace=0, n_group=3, topk_group=2, routed_scaling_factor=2.5, attention_bias=True,
        use_qk_norm=True, num_nextn_predict_layers=1, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.3})),
        "norms of each head, routing groups, tied embeddings, an MTP module that is not stored; 4 of 14 values of a head rotated",
        small=True, embed_std=0.3),
    Fixture("glm4-moe-lite", Glm4MoeLiteConfig(**SMALL_MLA | dict(
        num_hidden_layers=2, num_attention_heads=1, num_key_value_heads=1, n_routed_experts=5, num_experts_per_tok=2,
        routed_scaling_factor=1.8)),
        "MLA of one head, an MTP module (as GLM-4.7-Flash)", dict(num_nextn_predict_layers=1), small=True, mtp=True),
    Fixture("minimax-m2", MiniMaxM2Config(**SMALL_GQA | dict(
        num_hidden_layers=2, head_dim=12, intermediate_size=10, num_local_experts=3, num_experts_per_tok=2,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5})),
        "norms over the whole projection, half of each head rotated, sigmoids with a bias; the keys of MiniMax-M2.5",
        dict(attn_type_list=[1, 1], use_qk_norm=True, qk_norm_type="per_layer", use_routing_bias=True, scoring_func="sigmoid",
             use_mtp=True, mtp_transformer_layers=1, num_mtp_modules=3, shared_intermediate_size=0),
        small=True, publish=with_top_level_rope(rotary_dim=6)),
    Fixture("kimi-k25", DeepseekV3Config(**SMALL_MLA | dict(
        num_hidden_layers=2, n_routed_experts=5, num_experts_per_tok=2, first_k_dense_replace=1, routed_scaling_factor=2.827,
        rope_parameters=yarn(1.0, 1.0) | {"rope_theta": 50000.0})),
        "DeepSeek-V3 as the text part of a model that sees (as Kimi K2.5)", V3, small=True, publish=as_kimi_k25),
    Fixture("llama4", Llama4TextConfig(**SMALL_GQA | dict(
        num_hidden_layers=3, head_dim=10, intermediate_size=10, intermediate_size_mlp=20, num_local_experts=5, num_experts_per_tok=1,
        interleave_moe_layer_step=2, no_rope_layer_interval=3, attention_chunk_size=24, floor_scale=16, attn_scale=0.5,
        rope_parameters={"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 32, "rope_theta": 500.0})),
        "one expert, whose input is scaled; chunks, a layer without RoPE but with a temperature, norms without a gain, Llama 3's "
        "RoPE, dense layers between; the text part of a model that sees (as Llama 4 Scout)",
        small=True, publish=as_llama4),
    Fixture("llama4-text", Llama4TextConfig(**SMALL_GQA | dict(
        num_hidden_layers=2, head_dim=10, intermediate_size=10, intermediate_size_mlp=20, num_local_experts=5, num_experts_per_tok=1,
        no_rope_layers=[1, 0], attention_chunk_size=40, use_qk_norm=False, attn_temperature_tuning=False,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0})),
        "without norms, temperature and vision (as the text model of Llama 4 Maverick)", small=True),
    Fixture("qwen2-moe", Qwen2MoeConfig(**SMALL_GQA | dict(
        num_hidden_layers=2, intermediate_size=20, moe_intermediate_size=10, shared_expert_intermediate_size=14, num_experts=5,
        num_experts_per_tok=3, norm_topk_prob=False, mlp_only_layers=[], use_sliding_window=True, sliding_window=20,
        layer_types=["full_attention", "sliding_attention"], hidden_size=32)),
        "a gate on the shared expert, biases of q, k and v, a window by layer_types", small=True),
    Fixture("granitemoe", GraniteMoeConfig(**SMALL_GQA | dict(
        num_hidden_layers=2, hidden_size=32, intermediate_size=10, num_local_experts=3, num_experts_per_tok=3, tie_word_embeddings=True,
        attention_multiplier=0.2, embedding_multiplier=3.0, residual_multiplier=0.8, logits_scaling=0.25)),
        "multipliers, stacked experts, all of three experts chosen, tied embeddings", small=True, embed_std=0.1),
    Fixture("dots1", Dots1Config(**SMALL_GQA | dict(
        num_hidden_layers=2, num_attention_heads=1, num_key_value_heads=1, head_dim=12, intermediate_size=20, moe_intermediate_size=10, n_routed_experts=6, num_experts_per_tok=2,
        n_shared_experts=2, first_k_dense_replace=1, n_group=1, topk_group=1, norm_topk_prob=True, routed_scaling_factor=2.5,
        sliding_window=30, max_window_layers=1)),
        "one head with a norm, DeepSeek-V3's gate, a window in the last layers", small=True),
    Fixture("ernie4-5-moe", Ernie4_5_MoeConfig(**SMALL_GQA | dict(
        num_hidden_layers=2, hidden_size=32, intermediate_size=20, moe_intermediate_size=10, moe_num_experts=5, moe_k=2,
        moe_num_shared_experts=2, moe_layer_start_index=1, moe_layer_end_index=1, tie_word_embeddings=True)),
        "probabilities with a bias for the selection, interleaved pairs, tied embeddings",
        dict(moe_use_aux_free=True, moe_gate="topk", moe_capacity=[5, 5, 5], use_rmsnorm=True, num_nextn_predict_layers=1),
        small=True, embed_std=0.3, score_bias_std=0.1),
    Fixture("hunyuan-v1-moe", HunYuanMoEV1Config(**SMALL_GQA | dict(
        num_hidden_layers=2, head_dim=10, intermediate_size=10, num_experts=5, moe_topk=2, tie_word_embeddings=True,
        rope_parameters={"rope_type": "dynamic", "alpha": 50.0, "factor": 1.0, "rope_theta": 100.0})),
        "norms of each head after RoPE, whose base is stretched; lists of one value for each layer (as Hunyuan-A13B)",
        small=True, embed_std=0.3, publish=as_hunyuan),
    Fixture("gpt-oss-mxfp4", GptOssConfig(**SMALL_GQA | dict(
        hidden_size=64, num_hidden_layers=1, head_dim=8, intermediate_size=32, num_local_experts=4, num_experts_per_tok=2,
        sliding_window=24, rope_parameters={
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 32.0, "beta_slow": 1.0,
            "truncate": False, "rope_theta": 150000.0})),
        "experts in MXFP4, as gpt-oss is published", small=True, mxfp4=True, gate_up_std=3),
    Fixture("qwen3", Qwen3Config(**SMALL_GQA | dict(
        num_hidden_layers=3, head_dim=12, intermediate_size=20, tie_word_embeddings=True, use_sliding_window=True, sliding_window=24,
        max_window_layers=2, rope_parameters={"rope_type": "default", "rope_theta": 10000.0})),
        "no experts: norms of each head, a window in the last layer by layer_types, tied embeddings", small=True, embed_std=0.3),
    Fixture("llama", LlamaConfig(**SMALL_GQA | dict(
        num_hidden_layers=2, intermediate_size=20, head_dim=10, attention_bias=True, rope_parameters={
            "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32, "rope_theta": 500.0})),
        "no experts: Llama 3's RoPE, biases of all projections", small=True),
    Fixture("llama-linear", LlamaConfig(**SMALL | dict(
        hidden_size=28, num_attention_heads=2, num_key_value_heads=2, num_hidden_layers=2, intermediate_size=20,
        tie_word_embeddings=True, rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0})),
        "no experts: positions interpolated, a key head for every query head, tied embeddings (as Llama 1, stretched)",
        small=True, embed_std=0.3),
]
