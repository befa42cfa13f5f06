"""A small random encoder in the format of nomic-embed-text-v2-moe, and what an independent implementation computes with it.

usage: make.py OUT_DIR
Writes OUT_DIR/nomic-bert-moe/: a model directory as it is published (names, shapes and keys; sizes are small, weights bfloat16),
reference.json (texts with the ids of Python's tokenizers, versions) and reference.safetensors (hidden states at every position,
embeddings). nomic.py says why transformers is not the reference.

python3 -m venv /tmp/encoders && /tmp/encoders/bin/pip install -r test/golden/make/encoders/requirements.txt
/tmp/encoders/bin/python test/golden/make/encoders/make.py test/golden/fixtures/encoders
"""
import json, math, os, sys

import sentencepiece, tokenizers, torch
from safetensors.torch import save_file

from nomic import embedding, encode
from tokenizer import make_tokenizer, write_tokenizer

NAME = "nomic-bert-moe"
MAX_TOKENS = 100
DIMENSIONS = 16
CONFIG = {
    "activation_function": "gelu", "add_pooling_layer": False, "architectures": ["NomicBertModel"], "attn_pdrop": 0.0,
    "auto_map": {"AutoModel": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel"}, "bos_token_id": None,
    "causal": False, "dense_seq_output": True, "embd_pdrop": 0.1, "eos_token_id": None, "expert_choice_router": False,
    "ffn_div": 1, "fused_bias_fc": True, "fused_dropout_add_ln": True, "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05, "max_trained_positions": 128, "mlp_fc1_bias": True, "mlp_fc2_bias": True,
    "model_type": "nomic_bert", "moe_every_n_layers": 2, "moe_impl": "megablocks", "moe_normalize_expert_weights": False,
    "moe_resid_pdrop": 0.0, "moe_top_k": 2, "n_embd": 40, "n_head": 4, "n_inner": 52, "n_layer": 4, "n_positions": 128,
    "num_experts": 8, "num_shared_experts": 0, "pad_token_id": 1, "pad_vocab_size_multiple": 64, "parallel_block": False,
    "parallel_block_tied_norm": False, "prenorm": False, "qkv_proj_bias": True, "reorder_and_upcast_attn": False,
    "resid_pdrop": 0.0, "rotary_emb_base": 10000, "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None, "rotary_scaling_factor": None, "router_aux_loss_coef": 0.1,
    "scale_attn_by_inverse_layer_idx": False, "scale_attn_weights": True, "summary_activation": None,
    "summary_first_dropout": 0.1, "summary_proj_to_labels": True, "summary_type": "cls_index", "summary_use_proj": True,
    "torch_dtype": "bfloat16", "transformers_version": "4.44.2", "type_vocab_size": 1, "use_cache": True,
    "use_flash_attn": True, "use_rms_norm": None, "use_xentropy": True,
}
TEXTS = [
    "search_query: Who lost the grapes?",
    "search_document: A hungry fox saw some fine bunches of grapes hanging from a vine that was trained along a high trellis.",
    "a",
    "  two  spaces\tand\u3000wide\u00a0ones \n",
    "\uff26\uff35\uff2c\uff2c width, \ufb01ne ligatures, \u2163 and \u2461, 5 \u00b2, \uff76\uff9e \u30ab\u3099",
    "caf\u0065\u0301 na\u00efve a\u0308 o\u0302\u0301 \u1112\u1161\u11ab \U0001f600\U0001f600 \u200bzero\u0007bell",
    "<s> special <mask> in the text</s>",
    "\u2581signs\u2581of spaces \u65e5\u672c\u8a9e unknown",
    "x\u0085next line and\u200afew",
    "The lion and the mouse, the crow and the pitcher, the hare and the tortoise: slow and steady wins the race.",
]


def shapes():
    hidden, width, count = CONFIG["n_embd"], CONFIG["n_inner"], CONFIG["num_experts"]
    yield "embeddings.word_embeddings.weight", (CONFIG["vocab_size"], hidden)
    yield "embeddings.token_type_embeddings.weight", (1, hidden)
    norms = ["emb_ln"]
    for layer in range(CONFIG["n_layer"]):
        at = f"encoder.layers.{layer}"
        norms += [f"{at}.norm1", f"{at}.norm2"]
        linears = [(f"{at}.attn.Wqkv", 3 * hidden, hidden), (f"{at}.attn.out_proj", hidden, hidden)]
        if layer % CONFIG["moe_every_n_layers"] == 1:
            yield f"{at}.mlp.router.layer.weight", (count, hidden)
            yield f"{at}.mlp.experts.mlp.w1", (count * width, hidden)
            yield f"{at}.mlp.experts.mlp.w2", (count * width, hidden)
            yield f"{at}.mlp.experts.bias", (hidden,)
        else:
            linears += [(f"{at}.mlp.fc1", width, hidden), (f"{at}.mlp.fc2", hidden, width)]
        for name, rows, cols in linears:
            yield f"{name}.weight", (rows, cols)
            yield f"{name}.bias", (rows,)
    for name in norms:
        yield f"{name}.weight", (hidden,)
        yield f"{name}.bias", (hidden,)


def random_weights():
    """Weights with which attention, gate and biases all matter; exact in bfloat16."""
    generator = torch.Generator().manual_seed(15)
    weights = {}
    for name, shape in shapes():
        value = torch.randn(shape, generator=generator)
        if name.endswith("bias"):
            value *= 0.4
        elif "norm" in name or "emb_ln" in name:
            value = 1 + 0.2 * value
        elif "embeddings" not in name:
            fan_in = CONFIG["n_inner"] if name.endswith("w2") else shape[-1]
            value *= (2.5 if "router" in name else 2 if "attn" in name else 1.5) / math.sqrt(fan_in)
        weights[name] = value.to(torch.bfloat16)
    return weights


def main(out):
    torch.set_num_threads(1)
    folder = os.path.join(out, NAME)
    os.makedirs(folder, exist_ok=True)
    aesop = os.path.join(os.path.dirname(__file__), "../../fixtures/aesop.txt")
    tokenizer = make_tokenizer(open(aesop).read() + "caf\u00e9 na\u00efve \u00e4\u00f1\u00e7\n0123456789 search_query: search_document:\n", 380)
    write_tokenizer(tokenizer, folder, MAX_TOKENS)
    # As published, a multiple of 64 that is larger than the tokenizer's.
    CONFIG["vocab_size"] = -(-tokenizer.get_vocab_size() // 64) * 64
    weights = random_weights()
    save_file(weights, os.path.join(folder, "model.safetensors"))
    json.dump(CONFIG, open(os.path.join(folder, "config.json"), "w"), indent=1)
    json.dump({"max_seq_length": MAX_TOKENS, "do_lower_case": False}, open(os.path.join(folder, "sentence_bert_config.json"), "w"))
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    listed = [{"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{t}"} for i, (p, t) in enumerate(modules)]
    json.dump(listed, open(os.path.join(folder, "modules.json"), "w"), indent=1)
    exact = {name: value.to(torch.float64) for name, value in weights.items()}
    sequences = [tokenizer.encode(text).ids for text in TEXTS]
    hidden = [encode(torch.tensor(ids), exact, CONFIG) for ids in sequences]
    tensors = {
        "hidden": torch.cat(hidden).to(torch.float32),
        "embeddings": torch.stack([embedding(h, CONFIG["n_embd"]) for h in hidden]).to(torch.float32),
        "short": torch.stack([embedding(h, DIMENSIONS) for h in hidden]).to(torch.float32),
    }
    save_file(tensors, os.path.join(folder, "reference.safetensors"))
    versions = f"torch {torch.__version__}, tokenizers {tokenizers.__version__}, sentencepiece {sentencepiece.__version__}"
    about = "an encoder: experts in every other layer, a Unigram tokenizer (as nomic-embed-text-v2-moe)"
    reference = {"about": about, "versions": versions, "texts": TEXTS, "sequences": sequences, "dimensions": DIMENSIONS}
    json.dump(reference, open(os.path.join(folder, "reference.json"), "w"), indent=None)


main(sys.argv[1])
