"""Small random encoders of Shoal's own kind (shoal_bert), one for each gate that looks at a whole sequence, in NumPy and float64.

    python3 -m venv /tmp/sequence && /tmp/sequence/bin/pip install -r test/golden/make/sequence_gates/requirements.txt
    /tmp/sequence/bin/python test/golden/make/sequence_gates/make.py test/golden/fixtures/encoders

Writes OUT/shoal-bert-GATE/: config.json, model.safetensors (float16), reference.json (the sequences) and reference.safetensors
(hidden states at every position, embeddings). Everything is computed from the papers' equations, with dense matrices and masks,
and shares nothing with packages/model: blocks as BERT's (Devlin et al. 2018: the norm after each addition, the exact GELU), RoPE
over halves of a head (Su et al. 2021), and in layers with experts
  expert-choice     Zhou et al. 2022, §3.2: S = softmax(X W_g), [G, I] = TopK(Sᵀ, k), k = n·c/e, out = Σ G · FFN_e(x)
  soft              Puigcerver et al. 2023, §2.1: D = softmax of XΦ over tokens, C = softmax over slots, Y = C · FFN(Dᵀ X)
  top-1-capacity    Fedus et al. 2021, §2.2: the best expert, as long as fewer earlier tokens went there than its capacity
  top-2-capacity    Lepikhin et al. 2020, §2.2, as NLLB has it: second choices after all first ones; what is left sums to 1
"""
import json, math, os, sys

import numpy as np
from safetensors.numpy import save_file

SIZES = dict(vocab_size=96, hidden_size=32, intermediate_size=40, moe_intermediate_size=24, num_hidden_layers=3,
             num_attention_heads=4, max_position_embeddings=64, rope_theta=10000.0, layer_norm_eps=1e-5, hidden_act="gelu",
             num_experts=4, moe_layers=[1, 2], torch_dtype="float16")
GATES = {
    "expert-choice": ({"capacity_factor": 1.5}, "each expert takes its c·n/E best rows of a sequence"),
    "soft": ({"slots_per_expert": 3}, "experts get slots, which are mixtures of a sequence’s rows"),
    "top-1-capacity": ({"capacity_factor": 1.25}, "one expert for each row, as long as it has room"),
    "top-2-capacity": ({"capacity": 3}, "two experts for each row, as long as they have room"),
}
LENGTHS = [5, 1, 2, 13, 31, 8]
DIMENSIONS = 12


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


gelu = np.vectorize(lambda v: 0.5 * v * (1 + math.erf(v / math.sqrt(2))), otypes=[np.float64])


def norm(x, w, name):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + SIZES["layer_norm_eps"])
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x, w, name):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def attention(x, w, at):
    heads = SIZES["num_attention_heads"]
    n, hidden = x.shape
    half = hidden // heads // 2
    angles = np.arange(n)[:, None, None] * SIZES["rope_theta"] ** (-np.arange(half) / half)
    split = lambda name: linear(x, w, f"{at}.{name}_proj").reshape(n, heads, 2 * half)

    def rotated(v):
        a, b = v[..., :half], v[..., half:]
        return np.concatenate([a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], -1)

    q, k, v = rotated(split("q")), rotated(split("k")), split("v")
    shares = softmax(np.einsum("qhd,khd->hqk", q, k) / math.sqrt(2 * half), -1)
    return linear(np.einsum("hqk,khd->qhd", shares, v).reshape(n, hidden), w, f"{at}.o_proj")


def expert(x, w, at, e):
    return gelu(x @ w[f"{at}.experts.{e}.up_proj.weight"].T) @ w[f"{at}.experts.{e}.down_proj.weight"].T


def weights_of_rows(gate, settings, logits):
    """[rows, experts]: what each row weighs each expert by, 0 where it doesn't have it."""
    n, count = logits.shape
    scores = softmax(logits, 1)
    if gate == "expert-choice":
        take = min(n, max(1, int(settings["capacity_factor"] * n // count)))
        mask = np.zeros_like(scores)
        for e in range(count):
            mask[np.argsort(-scores[:, e], kind="stable")[:take], e] = 1
        return scores * mask
    first = np.eye(count)[scores.argmax(1)]
    place = lambda chosen, before: ((np.cumsum(chosen, 0) - chosen + before) * chosen).sum(1)
    if gate == "top-1-capacity":
        capacity = max(1, int(n * settings["capacity_factor"] // count))
        return scores * first * (place(first, 0) < capacity)[:, None]
    second = np.eye(count)[np.where(first == 1, -np.inf, logits).argmax(1)]
    room = settings["capacity"]
    kept = first * (place(first, 0) < room)[:, None] + second * (place(second, first.sum(0)) < room)[:, None]
    total = (scores * kept).sum(1, keepdims=True)
    return scores * kept / np.where(total == 0, 1, total)


def experts(x, w, at, gate, settings):
    logits = x @ w[f"{at}.gate.weight"].T
    count = SIZES["num_experts"]
    if gate == "soft":
        slots = softmax(logits, 0).T @ x
        p = settings["slots_per_expert"]
        after = np.concatenate([expert(slots[e * p : (e + 1) * p], w, at, e) for e in range(count)])
        y = softmax(logits, 1) @ after
    else:
        shares = weights_of_rows(gate, settings, logits)
        y = sum(shares[:, e : e + 1] * expert(x, w, at, e) for e in range(count))
    return y + w[f"{at}.experts.bias"]


def encode(ids, w, gate, settings):
    x = norm(w["model.embed_tokens.weight"][ids], w, "model.embed_norm")
    for layer in range(SIZES["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        x = norm(x + attention(x, w, f"{at}.self_attn"), w, f"{at}.attention_norm")
        if layer in SIZES["moe_layers"]:
            y = experts(x, w, f"{at}.mlp", gate, settings)
        else:
            y = linear(gelu(linear(x, w, f"{at}.mlp.up_proj")), w, f"{at}.mlp.down_proj")
        x = norm(x + y, w, f"{at}.ffn_norm")
    return x


def random_weights(rng, slots):
    """Weights with which attention, gate and biases all matter, as float16."""
    hidden, width = SIZES["hidden_size"], SIZES["moe_intermediate_size"]
    w = {"model.embed_tokens.weight": rng.normal(0, 1, (SIZES["vocab_size"], hidden))}
    norms = ["model.embed_norm"]
    for layer in range(SIZES["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        norms += [f"{at}.attention_norm", f"{at}.ffn_norm"]
        linears = [(f"{at}.self_attn.{part}_proj", hidden, hidden, 1.5) for part in "qkvo"]
        if layer in SIZES["moe_layers"]:
            w[f"{at}.mlp.gate.weight"] = rng.normal(0, 2 / math.sqrt(hidden), (slots, hidden))
            w[f"{at}.mlp.experts.bias"] = rng.normal(0, 0.3, hidden)
            for e in range(SIZES["num_experts"]):
                w[f"{at}.mlp.experts.{e}.up_proj.weight"] = rng.normal(0, 1.5 / math.sqrt(hidden), (width, hidden))
                w[f"{at}.mlp.experts.{e}.down_proj.weight"] = rng.normal(0, 2 / math.sqrt(width), (hidden, width))
        else:
            inner = SIZES["intermediate_size"]
            linears += [(f"{at}.mlp.up_proj", inner, hidden, 1.5), (f"{at}.mlp.down_proj", hidden, inner, 1.5)]
        for name, rows, columns, scale in linears:
            w[f"{name}.weight"] = rng.normal(0, scale / math.sqrt(columns), (rows, columns))
            w[f"{name}.bias"] = rng.normal(0, 0.3, rows)
    for name in norms:
        w[f"{name}.weight"], w[f"{name}.bias"] = rng.normal(1, 0.2, hidden), rng.normal(0, 0.3, hidden)
    return {name: value.astype(np.float16) for name, value in w.items()}


def main(out):
    for seed, (gate, (settings, about)) in enumerate(GATES.items()):
        folder = os.path.join(out, f"shoal-bert-{gate}")
        os.makedirs(folder, exist_ok=True)
        rng = np.random.default_rng(1500 + seed)
        stored = random_weights(rng, SIZES["num_experts"] * settings.get("slots_per_expert", 1))
        save_file(stored, f"{folder}/model.safetensors")
        config = {"architectures": ["ShoalBertModel"], "model_type": "shoal_bert", **SIZES, "gate": {"name": gate, **settings}}
        json.dump(config, open(f"{folder}/config.json", "w"), indent=1)
        w = {name: value.astype(np.float64) for name, value in stored.items()}
        sequences = [rng.integers(0, SIZES["vocab_size"], n).tolist() for n in LENGTHS]
        hidden = [encode(ids, w, gate, settings) for ids in sequences]
        unit = lambda v: v / np.linalg.norm(v)
        tensors = {
            "hidden": np.concatenate(hidden),
            "embeddings": np.stack([unit(h.mean(0)) for h in hidden]),
            "short": np.stack([unit(h.mean(0)[:DIMENSIONS]) for h in hidden]),
        }
        save_file({k: v.astype(np.float32) for k, v in tensors.items()}, f"{folder}/reference.safetensors")
        reference = {"about": f"an encoder: {about}", "versions": f"numpy {np.__version__}", "sequences": sequences, "dimensions": DIMENSIONS}
        json.dump(reference, open(f"{folder}/reference.json", "w"))


main(sys.argv[1])
