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


def as_kimi_k25(tensors, config):
    return with_eyes(
        tensors, config, "KimiK25ForConditionalGeneration", "kimi_k25",
        ["vision_tower.patch_embed.proj.weight", "mm_projector.proj.0.weight"],
        media_placeholder_token_id=3, ignore_index=-100, tie_word_embeddings=False)
