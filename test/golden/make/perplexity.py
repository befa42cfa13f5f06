"""Perplexity of a DeepseekV3 checkpoint on a text, in float64 with numpy alone: the uncompressed form of latent attention,
written from the papers, sharing no code with packages/model (nor with tools/train/golden.py, which absorbs).

usage: perplexity.py MODEL_DIR TEXT.txt OUT.json
Documents are separated by '<|endoftext|>' and trimmed; each is scored as <bos> document <eos>, every token but <bos> counted.
"""
import json, math, os, struct, sys
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../../tools/train"))
from encode import Tokenizer  # noqa: E402

LATENT_NORM_EPS = 1e-6


def load(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    out = {}
    for name, m in json.loads(raw[8:8 + n]).items():
        if name == "__metadata__":
            continue
        a, b = (8 + n + x for x in m["data_offsets"])
        if m["dtype"] == "BF16":
            v = (np.frombuffer(raw[a:b], "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            v = np.frombuffer(raw[a:b], {"F32": "<f4", "F16": "<f2"}[m["dtype"]])
        out[name] = v.reshape(m["shape"]).astype(np.float64)
    return out


class Model:
    def __init__(self, folder):
        self.c, self.w = json.load(open(f"{folder}/config.json")), load(f"{folder}/model.safetensors")

    def norm(self, x, name, eps=None):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + (eps or self.c["rms_norm_eps"])) * self.w[name + ".weight"]

    def lin(self, x, name):
        return x @ self.w[name + ".weight"].T

    def rope(self, x):
        """x [S, H, d]: pairs (0,1), (2,3), ... turned by position * theta^(-2i/d)."""
        S, d = x.shape[0], x.shape[-1]
        angle = np.arange(S)[:, None] * self.c["rope_theta"] ** (-np.arange(0, d, 2) / d)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        out = np.empty_like(x)
        out[..., 0::2], out[..., 1::2] = x[..., 0::2] * cos - x[..., 1::2] * sin, x[..., 0::2] * sin + x[..., 1::2] * cos
        return out

    def attention(self, x, p):
        c, S = self.c, len(x)
        H, n, r, v, rank = (c[k] for k in ("num_attention_heads", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank"))
        q = self.lin(self.norm(self.lin(x, p + "q_a_proj"), p + "q_a_layernorm", LATENT_NORM_EPS), p + "q_b_proj").reshape(S, H, n + r)
        a = self.lin(x, p + "kv_a_proj_with_mqa")
        kv = self.lin(self.norm(a[:, :rank], p + "kv_a_layernorm", LATENT_NORM_EPS), p + "kv_b_proj").reshape(S, H, n + v)
        q = np.concatenate((q[..., :n], self.rope(q[..., n:])), -1)
        k = np.concatenate((kv[..., :n], np.repeat(self.rope(a[:, None, rank:]), H, 1)), -1)
        s = np.einsum("shd,thd->hst", q, k) / math.sqrt(n + r)
        s = np.where(np.tril(np.ones((S, S), bool)), s, -np.inf)
        s = np.exp(s - s.max(-1, keepdims=True))
        s /= s.sum(-1, keepdims=True)
        return self.lin(np.einsum("hst,thv->shv", s, kv[..., n:]).reshape(S, H * v), p + "o_proj")

    def ffn(self, x, p):
        g = self.lin(x, p + "gate_proj")
        return self.lin(g / (1 + np.exp(-g)) * self.lin(x, p + "up_proj"), p + "down_proj")

    def moe(self, x, p):
        c, S = self.c, len(x)
        G, size = c["n_group"], c["n_routed_experts"] // c["n_group"]
        s = 1 / (1 + np.exp(-self.lin(x, p + "gate")))
        biased = s + self.w[p + "gate.e_score_correction_bias"]
        group = np.sort(biased.reshape(S, G, size), -1)[..., -2:].sum(-1)
        kept = np.argsort(-group, -1, kind="stable")[:, :c["topk_group"]]
        mask = np.full((S, G), -np.inf)
        np.put_along_axis(mask, kept, 0.0, -1)
        ids = np.argsort(-(biased + np.repeat(mask, size, -1)), -1, kind="stable")[:, :c["num_experts_per_tok"]]
        w = np.take_along_axis(s, ids, -1)
        if c["norm_topk_prob"]:
            w = w / (w.sum(-1, keepdims=True) + 1e-20)
        w = w * c["routed_scaling_factor"]
        y = self.ffn(x, p + "shared_experts.")
        for e in np.unique(ids):
            t, slot = np.nonzero(ids == e)
            y[t] += w[t, slot][:, None] * self.ffn(x[t], f"{p}experts.{e}.")
        return y

    def logits(self, ids):
        x = self.w["model.embed_tokens.weight"][ids]
        for i in range(self.c["num_hidden_layers"]):
            p = f"model.layers.{i}."
            x = x + self.attention(self.norm(x, p + "input_layernorm"), p + "self_attn.")
            h = self.norm(x, p + "post_attention_layernorm")
            x = x + (self.ffn(h, p + "mlp.") if i < self.c["first_k_dense_replace"] else self.moe(h, p + "mlp."))
        return self.lin(self.norm(x, "model.norm"), "lm_head")


def main(folder, text, out):
    model, tok = Model(folder), Tokenizer(f"{folder}/tokenizer.json")
    total, count, documents = 0.0, 0, []
    for document in open(text, encoding="utf-8").read().split("<|endoftext|>"):
        document = document.strip()
        if not document:
            continue
        ids = [model.c["bos_token_id"], *tok.encode(document), model.c["eos_token_id"]]
        assert len(ids) - 1 <= model.c["max_position_embeddings"], "a document is longer than the context"
        l = model.logits(ids[:-1])
        top = l.max(-1)
        nll = float((top + np.log(np.exp(l - top[:, None]).sum(-1)) - l[np.arange(len(ids) - 1), ids[1:]]).sum())
        documents.append({"tokens": len(ids) - 1, "nll": round(nll, 6)})
        total, count = total + nll, count + len(ids) - 1
    result = {"tokens": count, "nll": round(total, 6), "perplexity": round(math.exp(total / count), 8), "documents": documents}
    with open(out, "w", encoding="utf-8") as f:
        json.dump(result, f, indent=2)
        f.write("\n")
    print(result["tokens"], "tokens, perplexity", result["perplexity"])


if __name__ == "__main__":
    main(*sys.argv[1:])
