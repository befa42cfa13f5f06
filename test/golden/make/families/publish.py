"""How published checkpoints differ from what transformers saves: where keys stand, and what tensors are called."""
import torch


def with_top_level_rope(**instead):
    """RoPE's keys beside the others; `instead` of partial_rotary_factor where given."""
    def publish(tensors, config):
        rope = config["rope_parameters"]
        rest = {key: value for key, value in config.items() if key != "rope_parameters"}
        partial = {key: rope[key] for key in ["partial_rotary_factor"] if key in rope}
        return tensors, rest | {"rope_theta": rope["rope_theta"], "rope_scaling": None} | (instead or partial)
    return publish


def with_eyes(tensors, config, architecture, model_type, vision, **keys):
    """The text model as a part of one that sees, with some tensors of the other parts."""
    text = {key: value for key, value in config.items() if key not in ("architectures", "dtype")}
    published = {f"language_model.{name}": tensor for name, tensor in tensors.items()}
    published |= {name: torch.ones(2, 2, dtype=torch.bfloat16) for name in vision}
    return published, {
        "architectures": [architecture], "model_type": model_type, "text_config": text, "vision_config": {"hidden_size": 2},
        "dtype": config["dtype"]} | keys


def as_llama4(tensors, config):
    # The published config leaves these to the code.
    text = {key: value for key, value in config.items() if key not in ("moe_layers", "no_rope_layers", "layer_types")}
    return with_eyes(
        tensors, text, "Llama4ForConditionalGeneration", "llama4",
        ["vision_model.patch_embedding.linear.weight", "multi_modal_projector.linear_1.weight"], image_token_index=3)


def as_hunyuan(tensors, config):
    rope = config["rope_parameters"]
    scaling = {"type": "dynamic", "alpha": rope["alpha"], "factor": 1.0, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 0.0}
    layers = config["num_hidden_layers"]
    lists = {key: [config[of]] * layers for key, of in [("moe_topk", "moe_topk"), ("moe_intermediate_size", "intermediate_size")]}
    rest = {key: value for key, value in config.items() if key != "rope_parameters"}
    return tensors, rest | lists | {
        "rope_theta": rope["rope_theta"], "rope_scaling": scaling, "num_shared_expert": [1] * layers, "use_mixed_mlp_moe": True,
        "use_qk_norm": True, "use_cla": False, "cla_share_factor": 2, "norm_type": "rms", "attention_head_dim": config["head_dim"]}


def as_kimi_k25(tensors, config):
    return with_eyes(
        tensors, config, "KimiK25ForConditionalGeneration", "kimi_k25",
        ["vision_tower.patch_embed.proj.weight", "mm_projector.proj.0.weight"],
        media_placeholder_token_id=3, ignore_index=-100, tie_word_embeddings=False)
