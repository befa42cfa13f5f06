"""The small models: a family, its keys, and what each is for."""

SWITCH = dict(d_model=40, d_kv=6, d_ff=28, num_heads=4, relative_attention_num_buckets=8, relative_attention_max_distance=20, decoder_start_token_id=0)
NLLB = dict(d_model=32, encoder_attention_heads=4, decoder_attention_heads=4, max_position_embeddings=128)

MODELS = {
    "switch": dict(
        family="switch",
        about="experts in every other layer, which take 14 rows of a source; keys as transformers 5 writes them",
        keys=dict(num_layers=3, num_decoder_layers=4, num_sparse_encoder_layers=1, num_sparse_decoder_layers=2, num_experts=4, expert_capacity=14) | SWITCH,
    ),
    "switch-every-layer": dict(
        family="switch",
        about="experts in every layer, with GELU; a bias of the gate; keys as google/switch-base-8 has them",
        keys=dict(num_layers=2, num_decoder_layers=2, num_sparse_encoder_layers=2, num_sparse_decoder_layers=2, num_experts=5, expert_capacity=11,
                  router_bias=True, dense_act_fn="gelu") | SWITCH,
        # Older versions wrote these too, and left out what is by default.
        published=dict(add=dict(encoder_sparse_step=1, decoder_sparse_step=1, feed_forward_proj="gelu", is_gated_act=False, n_positions=512,
                                output_past=True, router_type="tokens_masked"),
                       remove=["tie_word_embeddings", "bos_token_id", "is_decoder", "add_cross_attention", "dtype"]),
    ),
    "nllb-moe": dict(
        family="nllb",
        about="two experts a row, which take three in ten rows of a source; weights normalised after dropping; a decoder of more layers",
        keys=dict(encoder_layers=2, decoder_layers=3, encoder_ffn_dim=24, decoder_ffn_dim=24, encoder_sparse_step=2, decoder_sparse_step=3, num_experts=4,
                  moe_eval_capacity_token_fraction=0.3) | NLLB,
    ),
    "nllb-moe-prioritised": dict(
        family="nllb",
        about="the surest rows first to experts of 20 places; weights normalised before dropping; a bias of the gate; embeddings not scaled; "
        "keys as facebook/nllb-moe-54b has them",
        keys=dict(encoder_layers=2, decoder_layers=2, encoder_ffn_dim=20, decoder_ffn_dim=20, encoder_sparse_step=1, decoder_sparse_step=2, num_experts=5,
                  moe_eval_capacity_token_fraction=-1.0, expert_capacity=20, batch_prioritized_routing=True, normalize_router_prob_before_dropping=True,
                  router_bias=True, scale_embedding=False, moe_token_dropout=0.25) | NLLB,
        published=dict(add=dict(num_hidden_layers=2, router_type="tokens_masked"), remove=["tie_word_embeddings", "dtype"]),
    ),
}

TEXTS = [
    "The fox saw some fine bunches of grapes hanging from a vine, and the crow had a piece of cheese in her beak. A lion lay asleep in the wood; slow and steady wins the race.",
    "The <extra_id_0> walks in <extra_id_1> park",
    "a",
    "  two  spaces\tand\u3000wide\u00a0ones \n",
    "\uff26\uff35\uff2c\uff2c width, \ufb01ne ligatures, 5 \u00b2",
    "caf\u0065\u0301 na\u00efve a\u0308 \u1112\u1161\u11ab \U0001f600\U0001f600 \u200bzero\u0007bell",
    "</s> special <pad> in the text <unk>",
    "\u2581signs\u2581of spaces \u65e5\u672c\u8a9e unknown",
    "fra_Latn <extra_id_2>glued<extra_id_3> fra_Latn",
]
