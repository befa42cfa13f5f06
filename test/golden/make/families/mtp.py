"""The module that predicts the token after the next (DeepSeek-V3 paper 2.2), which transformers has but does not save."""
import re

import torch
from transformers.modeling_layers import MtpModel


def new_mtp(main):
    """One module for a main model, whose embedding, head and RoPE it shares."""
    # Not every family's config in transformers announces the module that its checkpoints have.
    missing = {"num_mtp_layers": 1, "mtp_mlp_layer_types": ["sparse"]}
    missing = {key: value for key, value in missing.items() if not hasattr(main.config, key)}
    for key, value in missing.items():
        setattr(main.config, key, value)
    mtp = MtpModel(main, 1).float().eval()
    for key in missing:
        delattr(main.config, key)
    return mtp


def mtp_tensors(mtp, layer):
    """Its tensors under the names of published checkpoints, where it is one more layer."""
    tensors = {}
    for name, tensor in mtp.layers[0].state_dict().items():
        name = name.removeprefix("mtp_block.").replace("post_norm.", "shared_head.norm.")
        fused = re.fullmatch(r"(mlp\.experts)\.(gate_up_proj|down_proj)", name)
        if not fused:
            tensors[f"model.layers.{layer}.{name}"] = tensor.clone()
            continue
        for expert, weight in enumerate(tensor):
            parts = zip(("gate_proj", "up_proj"), weight.chunk(2)) if fused[2] == "gate_up_proj" else [("down_proj", weight)]
            for part, matrix in parts:
                tensors[f"model.layers.{layer}.{fused[1]}.{expert}.{part}.weight"] = matrix.clone()
    return tensors


def mtp_logits(model, mtp, ids):
    """Logits for token i + 2 from the main model's state at i (after its norm) and token i + 1: [tokens - 1, vocab]"""
    mtp.tie_with_main_model(model)
    hidden = model.model(ids[None], use_cache=False).last_hidden_state[:, :-1]
    embedded = mtp.embed_tokens(ids[None, 1:])
    rows = hidden.shape[1]
    positions = torch.arange(rows)[None]
    mask = torch.full((rows, rows), float("-inf")).triu(1)[None, None]
    out = mtp.layers[0](
        embedded, hidden, position_embeddings=mtp.rotary_emb(embedded, position_ids=positions), attention_mask=mask,
        position_ids=positions, cache=None)
    return model.lm_head(out)[0]
