"""The encoder in its training form: post-norm blocks with RoPE, and in layers 1 and 3 an FFN of one of three kinds.

`dense` is one FFN. `expert-choice` is Zhou et al. 2022, §3.2: each expert takes the c·n/E rows of a sequence that score highest
for it. `soft` is Soft MoE (Puigcerver et al. 2023, §2.1): experts get slots, which are mixtures of a sequence's rows. All three
cost the same per token at the mean length of the training's texts (`multiply_adds`).
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from pairs import MEAN_TOKENS

HIDDEN, HEADS, LAYERS, EXPERTS, VOCAB = 128, 4, 4, 16, 2048
MOE_LAYERS = (1, 3)
ROPE_THETA, EPS = 10000.0, 1e-5
CAPACITY_FACTOR, SLOTS_PER_EXPERT = 2, 3
# Of a dense layer, of an expert of each kind, and of the dense FFN in an expert layer's place.
DENSE_WIDTH = 256
WIDTHS = {"expert-choice": 128, "soft": 144, "dense": 264}


def multiply_adds(kind, n=MEAN_TOKENS):
    """Multiply-adds of one token in an expert layer's FFN, its gate and mixtures included, in a text of n tokens."""
    width = WIDTHS[kind]
    if kind == "dense":
        return 2 * HIDDEN * width
    if kind == "expert-choice":
        return EXPERTS * HIDDEN + CAPACITY_FACTOR * 2 * HIDDEN * width
    slots = EXPERTS * SLOTS_PER_EXPERT
    return 3 * slots * HIDDEN + slots / n * 2 * HIDDEN * width


class Experts(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, width = kind, WIDTHS[kind]
        rows = EXPERTS * (SLOTS_PER_EXPERT if kind == "soft" else 1)
        self.gate = nn.Parameter(torch.randn(rows, HIDDEN) / math.sqrt(HIDDEN))
        self.up = nn.Parameter(torch.randn(EXPERTS, width, HIDDEN) / math.sqrt(HIDDEN))
        self.down = nn.Parameter(torch.randn(EXPERTS, HIDDEN, width) / math.sqrt(width))
        self.bias = nn.Parameter(torch.zeros(HIDDEN))

    def each(self, x):
        """Expert e on x[:, e]; takes and returns [texts, experts, rows, hidden]."""
        return F.gelu(x @ self.up.transpose(1, 2)) @ self.down.transpose(1, 2)

    def forward(self, x):
        logits = x @ self.gate.t()
        y = self.soft(x, logits) if self.kind == "soft" else self.expert_choice(x, logits)
        return y + self.bias

    def expert_choice(self, x, logits):
        texts, n, _ = x.shape
        count = min(n, max(1, CAPACITY_FACTOR * n // EXPERTS))
        weights, rows = logits.softmax(-1).transpose(1, 2).topk(count, dim=-1)  # [texts, experts, count]
        at = rows.reshape(texts, -1, 1).expand(-1, -1, HIDDEN)
        taken = x.gather(1, at).view(texts, EXPERTS, count, HIDDEN)
        y = (self.each(taken) * weights.unsqueeze(-1)).view(texts, -1, HIDDEN)
        return torch.zeros_like(x).scatter_add(1, at, y)

    def soft(self, x, logits):
        slots = logits.softmax(1).transpose(1, 2) @ x  # [texts, slots, hidden]
        y = self.each(slots.view(len(x), EXPERTS, SLOTS_PER_EXPERT, HIDDEN)).reshape(slots.shape)
        return logits.softmax(2) @ y


class Dense(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up, self.down = nn.Linear(HIDDEN, width), nn.Linear(width, HIDDEN)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


class Layer(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(HIDDEN, HIDDEN) for _ in range(4))
        self.attention_norm, self.ffn_norm = nn.LayerNorm(HIDDEN, EPS), nn.LayerNorm(HIDDEN, EPS)
        self.ffn = Experts(kind) if kind in ("soft", "expert-choice") else Dense(WIDTHS["dense"] if kind else DENSE_WIDTH)

    def forward(self, x, cos, sin):
        texts, n, _ = x.shape
        q, k, v = (f(x).view(texts, n, HEADS, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(rotated(q, cos, sin), rotated(k, cos, sin), v)
        x = self.attention_norm(x + self.o(mixed.transpose(1, 2).reshape(texts, n, HIDDEN)))
        return self.ffn_norm(x + self.ffn(x))


def rotated(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Encoder(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.embed = nn.Embedding(VOCAB, HIDDEN)
        self.embed_norm = nn.LayerNorm(HIDDEN, EPS)
        self.layers = nn.ModuleList(Layer(kind if i in MOE_LAYERS else None) for i in range(LAYERS))

    def forward(self, ids):
        """ids [texts, n], all of one length → normalised means [texts, hidden]."""
        half = HIDDEN // HEADS // 2
        angles = torch.arange(ids.shape[1])[:, None] * ROPE_THETA ** (-torch.arange(half) / half)
        cos, sin = angles.cos(), angles.sin()
        x = self.embed_norm(self.embed(ids))
        for layer in self.layers:
            x = layer(x, cos, sin)
        return F.normalize(x.mean(1), dim=-1)
