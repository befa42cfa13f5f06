"""Small random heads that draft from the hidden states of the fixture qwen3-moe, and what the speculators package computes of them.

usage: make.py FIXTURES: reads FIXTURES/families/qwen3-moe, writes FIXTURES/heads/<name>. README.md says how to run it.
"""
import json
import os
import sys
import zlib
from pathlib import Path

# The verifier is only named.
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

from speculators.config import SpeculatorsConfig, VerifierConfig
from speculators.models.dflash import DFlashSpeculatorConfig
from speculators.models.dflash import core as dflash_core
from speculators.models.dflash.core import DFlashDraftModel
from speculators.models.eagle3 import Eagle3SpeculatorConfig
from speculators.models.eagle3.core import Eagle3DraftModel
from speculators.proposals.greedy import GreedyTokenProposalConfig

TARGET = "qwen3-moe"
TOKENS = 40
STEPS = 3
BLOCK = 5
ANCHORS = [1, 17, 30]
LAYER = dict(vocab_size=112, hidden_size=48, intermediate_size=40, num_attention_heads=4, num_key_value_heads=2, head_dim=12,
             max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=False)
PLAIN = dict(rope_parameters={"rope_type": "default", "rope_theta": 5000.0})
LLAMA3 = dict(rope_parameters={"rope_type": "llama3", "rope_theta": 5000.0, "factor": 4.0, "low_freq_factor": 1.0,
                               "high_freq_factor": 4.0, "original_max_position_embeddings": 32})


def hidden_states(model, ids, layers):
    """The inputs of these layers along one sequence, [tokens, layers, hidden]; of the number of layers the last one's output."""
    seen = {}
    stack = model.model.layers
    hooks = [layer.register_forward_pre_hook(lambda _, args, i=i: seen.update({i: args[0]})) for i, layer in enumerate(stack)]
    hooks.append(stack[-1].register_forward_hook(lambda *args: seen.update({len(stack): args[2]})))
    model(torch.tensor([ids]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return torch.stack([seen[layer][0] for layer in layers], dim=1)


def package(algorithm, tokens):
    verifier = VerifierConfig(name_or_path=f"shoal/{TARGET}", architectures=["Qwen3MoeForCausalLM"])
    method = GreedyTokenProposalConfig(speculative_tokens=tokens)
    return SpeculatorsConfig(algorithm=algorithm, proposal_methods=[method], default_proposal_method="greedy", verifier=verifier)


def randomise(model, seed):
    """Weights that a float16 or bfloat16 holds, with norms about 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        values = 1 + 0.1 * noise if "norm" in name else noise * parameter.shape[-1] ** -0.5
        parameter.data = values.bfloat16().float()


def draft_tokens(size, of, seed):
    """d2t and t2d of `size` random tokens."""
    kept = torch.randperm(of, generator=torch.Generator().manual_seed(seed))[:size].sort().values
    known = torch.zeros(of, dtype=torch.bool)
    known[kept] = True
    return kept - torch.arange(size), known


def eagle3(name, target, ids, layers, draft_vocab, layer_config, **flags):
    seed = zlib.crc32(name.encode())
    layer_config._attn_implementation = "eager"
    config = Eagle3SpeculatorConfig(transformer_layer_config=layer_config, draft_vocab_size=draft_vocab,
                                    eagle_aux_hidden_state_layer_ids=layers, speculators_config=package("eagle3", STEPS), **flags)
    model = Eagle3DraftModel(config).eval()
    randomise(model, seed)
    if draft_vocab < LAYER["vocab_size"]:
        model.d2t, model.t2d = draft_tokens(draft_vocab, LAYER["vocab_size"], seed)
    if name == "eagle3":
        model.embed_tokens.weight.data = target.get_input_embeddings().weight.data.clone()
    auxiliary = hidden_states(target, ids, layers)
    logits, hidden = [], []
    hooks = [model.lm_head.register_forward_hook(lambda *args: logits.append(args[2][0])),
             model.norm.register_forward_hook(lambda *args: hidden.append((args[2] if config.norm_output else args[1][0])[0]))]
    # A row is given a position's hidden states and the token after it.
    model(auxiliary[:-1].flatten(1)[None], torch.tensor([ids[1:]]), torch.zeros(1, len(ids) - 1, dtype=torch.long),
          ttt_steps=STEPS)
    for hook in hooks:
        hook.remove()
    return model, {"auxiliary": auxiliary, "logits": torch.stack(logits), "hidden": torch.stack(hidden)}


def dflash(name, target, ids, layers, draft_vocab, layer_config):
    seed = zlib.crc32(name.encode())
    layer_config._attn_implementation = "eager"
    config = DFlashSpeculatorConfig(transformer_layer_config=layer_config, draft_vocab_size=draft_vocab, block_size=BLOCK,
                                    aux_hidden_state_layer_ids=layers, mask_token_id=7, speculators_config=package("dflash", BLOCK - 1))
    model = DFlashDraftModel(config).eval()
    randomise(model, seed)
    model.embed_tokens.weight.data = target.get_input_embeddings().weight.data.clone()
    if draft_vocab < LAYER["vocab_size"]:
        model.d2t, model.t2d = draft_tokens(draft_vocab, LAYER["vocab_size"], seed)
    else:
        model.lm_head.weight.data = target.get_output_embeddings().weight.data.clone()
    auxiliary = hidden_states(target, ids, layers)
    anchors = torch.tensor(ANCHORS)
    dflash_core.select_anchors = lambda *_: (anchors, torch.ones_like(anchors, dtype=torch.bool))
    _, logits, *_ = model._backbone_forward(auxiliary.flatten(1)[None], torch.tensor([ids]), torch.ones(1, len(ids)),
                                            torch.zeros(1, len(ids), LAYER["hidden_size"]),
                                            torch.zeros(1, len(ids), dtype=torch.long), max_anchors=len(ANCHORS))
    return model, {"auxiliary": auxiliary, "logits": logits[0].reshape(len(ANCHORS), BLOCK, -1)}


def save(folder, model, reference, ids):
    """As the package writes it, in bfloat16."""
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    for other in folder.glob("*.py"):
        other.unlink()
    save_file({key: value.detach().float().contiguous() for key, value in reference.items()}, folder / "reference.safetensors")
    about = {"target": TARGET, "ids": ids, "anchors": ANCHORS, "layers": model.target_layer_ids}
    (folder / "reference.json").write_text(json.dumps(about) + "\n")


def as_authors_publish(folder, config, drop, rename=lambda name: name):
    """The same weights in the layout of the head's authors."""
    weights = load_file(folder / "model.safetensors")
    kept = {rename(name): value for name, value in weights.items() if name not in drop}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


@torch.no_grad()
def main(fixtures):
    target = AutoModelForCausalLM.from_pretrained(fixtures / "families" / TARGET, dtype=torch.float32, attn_implementation="eager")
    ids = json.loads((fixtures / "families" / TARGET / "reference.json").read_text())["sequences"][0][:TOKENS]
    heads = fixtures / "heads"

    # EAGLE-3's own layout: keys of an older transformers, tensors of the one layer under midlayer, the target's embedding.
    save(heads / "eagle3", *eagle3("eagle3", target, ids, [1, 2, 3], 60, LlamaConfig(num_hidden_layers=1, **LAYER, **LLAMA3)), ids)
    layer = {key: value for key, value in LAYER.items() if key != "tie_word_embeddings"}
    scaling = {key: value for key, value in LLAMA3["rope_parameters"].items() if key != "rope_theta"}
    as_authors_publish(heads / "eagle3", {
        "architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", **layer, "num_hidden_layers": 1, "hidden_act": "silu",
        "rope_theta": 5000.0, "rope_scaling": scaling, "draft_vocab_size": 60, "bos_token_id": 0, "eos_token_id": 1,
        "pad_token_id": 0, "torch_dtype": "bfloat16", "tie_word_embeddings": False, "use_cache": True,
        "eagle_config": {"eagle_aux_hidden_state_layer_ids": [0, 1, 2], "use_aux_hidden_state": True},
    }, ["embed_tokens.weight"], lambda name: name.replace("layers.0.", "midlayer."))

    # The package's layout, with the residual after the norm, and each of the later additions.
    save(heads / "eagle3-residual", *eagle3("eagle3-residual", target, ids, [0, 1, 2], 112,
         Qwen3Config(num_hidden_layers=2, **LAYER, **PLAIN), norm_before_residual=True, fc_norm=True, norm_output=True), ids)
    save(heads / "eagle3-whole-norm", *eagle3("eagle3-whole-norm", target, ids, [2, 0], 50,
         LlamaConfig(num_hidden_layers=1, attention_bias=True, **LAYER, **PLAIN), norm_before_residual=True, norm_before_fc=True), ids)

    # DFlash's own layout: the target's embedding and output.
    layer_config = Qwen3Config(num_hidden_layers=2, **LAYER, **PLAIN)
    save(heads / "dflash", *dflash("dflash", target, ids, [1, 3], 112, layer_config), ids)
    as_authors_publish(heads / "dflash", {
        "architectures": ["DFlashDraftModel"], "model_type": "qwen3", "auto_map": {"AutoModel": "dflash.DFlashDraftModel"},
        **LAYER, "num_hidden_layers": 2, "hidden_act": "silu", "rope_theta": 5000.0, "attention_bias": False, "block_size": BLOCK,
        "num_target_layers": 3, "dflash_config": {"mask_token_id": 7, "target_layer_ids": [0, 2]}, "dtype": "bfloat16",
        "layer_types": ["full_attention"] * 2, "max_window_layers": 2, "sliding_window": None, "use_sliding_window": False,
    }, ["embed_tokens.weight", "lm_head.weight"])
    save(heads / "dflash-package", *dflash("dflash-package", target, ids, [0, 1, 2], 64, Qwen3Config(num_hidden_layers=1, **LAYER, **PLAIN)), ids)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
