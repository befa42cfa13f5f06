"""The encoder of nomic-embed-text-v2-moe in float64, written from its equations and independent of Shoal's code.

transformers 5.24.0 has `nomic_bert` without experts, biases or GELU (that of v1.5), so it is no reference for this model. What is
computed here is what the model's own `modeling_hf_nomic_bert.py` (nomic-ai/nomic-bert-2048) computes for its config:
blocks with the norm after each addition, RoPE over halves of a head, attention without a mask, the exact GELU, softmax over all
experts before the top k, whose weights are not normalised, and one bias for all experts of a layer.
"""
import math

import torch
import torch.nn.functional as F


def rotated(x, base):
    """x [length, heads, head_dim]"""
    length, _, dim = x.shape
    frequencies = base ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies[None, :]
    cos, sin = angles.cos()[:, None, :], angles.sin()[:, None, :]
    a, b = x[..., : dim // 2], x[..., dim // 2 :]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def attention(x, weights, at, config):
    heads = config["n_head"]
    length, hidden = x.shape
    qkv = F.linear(x, weights[f"{at}.Wqkv.weight"], weights[f"{at}.Wqkv.bias"])
    q, k, v = qkv.view(length, 3, heads, hidden // heads).unbind(1)
    q, k = rotated(q, config["rotary_emb_base"]), rotated(k, config["rotary_emb_base"])
    scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(hidden // heads)
    mixed = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(length, hidden)
    return F.linear(mixed, weights[f"{at}.out_proj.weight"], weights[f"{at}.out_proj.bias"])


def experts(x, weights, at, config):
    count, width, hidden = config["num_experts"], config["n_inner"], config["n_embd"]
    probabilities = F.linear(x, weights[f"{at}.router.layer.weight"]).softmax(-1)
    top, chosen = probabilities.topk(config["moe_top_k"], dim=-1)
    w1 = weights[f"{at}.experts.mlp.w1"].view(count, width, hidden)
    w2 = weights[f"{at}.experts.mlp.w2"].view(count, width, hidden)
    out = torch.zeros_like(x)
    for row in range(x.shape[0]):
        for weight, expert in zip(top[row], chosen[row]):
            out[row] += weight * (F.gelu(x[row] @ w1[expert].T) @ w2[expert])
    return out + weights[f"{at}.experts.bias"]


def dense(x, weights, at):
    up = F.gelu(F.linear(x, weights[f"{at}.fc1.weight"], weights[f"{at}.fc1.bias"]))
    return F.linear(up, weights[f"{at}.fc2.weight"], weights[f"{at}.fc2.bias"])


def encode(ids, weights, config):
    """The last hidden states of one sequence, [length, hidden]."""
    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], config["layer_norm_epsilon"])

    x = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "emb_ln")
    for layer in range(config["n_layer"]):
        at = f"encoder.layers.{layer}"
        x = norm(x + attention(x, weights, f"{at}.attn", config), f"{at}.norm1")
        is_moe = layer % config["moe_every_n_layers"] == 1
        ffn = experts(x, weights, f"{at}.mlp", config) if is_moe else dense(x, weights, f"{at}.mlp")
        x = norm(x + ffn, f"{at}.norm2")
    return x


def embedding(hidden, dimensions):
    """Mean pooling, cut and normalised, as the model's card has it."""
    return F.normalize(hidden.mean(0)[:dimensions], dim=0)
