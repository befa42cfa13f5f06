"""Writes a trained encoder as a model directory that Shoal serves: config.json, model.safetensors (float16), tokenizer files.

usage: export.py CHECKPOINT.pt TOKENIZER_DIR OUT_DIR
A dense encoder has no experts for tabs to hold, so it is not exported.
"""
import json, os, shutil, sys

import torch
from safetensors.torch import save_file

import encoder as e

NAMES = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
         "attention_norm": "attention_norm", "ffn_norm": "ffn_norm", "ffn.up": "mlp.up_proj", "ffn.down": "mlp.down_proj"}
GATES = {"expert-choice": {"name": "expert-choice", "capacity_factor": e.CAPACITY_FACTOR},
         "soft": {"name": "soft", "slots_per_expert": e.SLOTS_PER_EXPERT}}


def tensors(state):
    """Yields (name, tensor) under the names of Shoal's checkpoints."""
    for name, value in state.items():
        if not name.startswith("layers."):
            yield name.replace("embed.", "model.embed_tokens.").replace("embed_norm.", "model.embed_norm."), value
            continue
        _, layer, rest = name.split(".", 2)
        at, (base, leaf) = f"model.layers.{layer}", rest.rsplit(".", 1)
        if base != "ffn" or leaf not in ("gate", "up", "down", "bias"):
            yield f"{at}.{NAMES[base]}.{leaf}", value
        elif leaf == "gate":
            yield f"{at}.mlp.gate.weight", value
        elif leaf == "bias":
            yield f"{at}.mlp.experts.bias", value
        else:
            for i, own in enumerate(value):
                yield f"{at}.mlp.experts.{i}.{leaf}_proj.weight", own


def main(checkpoint, tokenizer, out):
    saved = torch.load(checkpoint)
    kind = saved["kind"]
    os.makedirs(out, exist_ok=True)
    half = {name: value.to(torch.float16).contiguous() for name, value in tensors(saved["state"])}
    save_file(half, f"{out}/model.safetensors", metadata={"format": "pt"})
    config = dict(
        architectures=["ShoalBertModel"], model_type="shoal_bert", vocab_size=e.VOCAB, hidden_size=e.HIDDEN,
        intermediate_size=e.DENSE_WIDTH, moe_intermediate_size=e.WIDTHS[kind], num_hidden_layers=e.LAYERS,
        num_attention_heads=e.HEADS, max_position_embeddings=512, rope_theta=e.ROPE_THETA, layer_norm_eps=e.EPS,
        hidden_act="gelu", num_experts=e.EXPERTS, moe_layers=list(e.MOE_LAYERS), gate=GATES[kind], torch_dtype="float16")
    json.dump(config, open(f"{out}/config.json", "w"), indent=2)
    shutil.copy(f"{tokenizer}/tokenizer.json", f"{out}/tokenizer.json")
    # The texts of its training have no token before or after them.
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": False, "model_max_length": 512}
    json.dump(settings, open(f"{out}/tokenizer_config.json", "w"), indent=2)


if __name__ == "__main__":
    main(*sys.argv[1:])
