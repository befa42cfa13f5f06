"""The MTP module applied to itself, for many first positions at once, as drafting does it.

A chain starts at a position i whose next token is known. Its first row is the module on the main model's hidden state h_i and token
i + 1, its second row the module on the first row's output and token i + 2, and so on: "training-time test" of EAGLE-3 (Li et al. 2025,
section 3.2). A row attends to what the module's cache holds then: the rows of positions up to i that were computed from the main
model's hidden states, and the chain's own rows. What a longer text computes for positions after i is not there yet.

Shapes: B texts, L positions, M chains per text, H heads, D hidden_size.
"""
import torch
import torch.nn.functional as F
from model import linear, rope_table


def take(x, at):
    """Rows `at` [B, M] of x [B, L, ...]."""
    return x.gather(1, at.view(*at.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:]))


class Unroll:
    """Chains that start at `start` [B, M] of the texts ids [B, L] with the main model's hidden states [B, L, D] (after its final norm)."""

    def __init__(self, model, ids, hidden, start):
        self.mtp, self.start, self.out = model.mtp, start, take(hidden, start)
        self.emb, self.rope = F.embedding(ids, model.embed_tokens), rope_table(model.c, ids.shape[1])
        self.depth, self.own = 0, []
        _, normed = self.before_layer(hidden[:, :-1], self.emb[:, 1:])
        _, self.k, self.v = self.mtp.layer.self_attn.qkv(normed, tuple(t[:-1] for t in self.rope))

    def before_layer(self, hidden, emb_next):
        """The layer's input, and the same normed."""
        m = self.mtp
        x = linear(torch.cat((m.enorm(emb_next), m.hnorm(hidden)), -1), m.eh_proj).float()
        return x, m.layer.input_layernorm(x)

    def step(self):
        """The next row of each chain -> [B, M, D]: what the head reads, and what the row after it reads."""
        layer, at = self.mtp.layer, self.start + self.depth
        x, normed = self.before_layer(self.out, take(self.emb, at + 1))
        q, k, v = layer.self_attn.qkv(normed, tuple(t[at] for t in self.rope))
        if self.depth > 0:  # the first row is one of the main model's
            self.own.append((k, v))
        past = self.k.shape[2]
        score = torch.cat([q @ self.k.transpose(-1, -2)] + [(q * k).sum(-1, keepdim=True) for k, _ in self.own], -1)
        unseen = (torch.arange(score.shape[-1]) > self.start[..., None]) & (torch.arange(score.shape[-1]) < past)
        p = F.softmax(score.masked_fill_(unseen[:, None], float("-inf")), -1)
        mixed = p[..., :past] @ self.v
        for s, (_, v) in enumerate(self.own):
            mixed = mixed + p[..., past + s, None] * v
        x = x + layer.self_attn.out(mixed).float()
        x = x + layer.mlp(layer.post_attention_layernorm(x)).float()
        self.depth, self.out = self.depth + 1, self.mtp.shared_head_norm(x)
        return self.out

    def keep(self, which):
        """Go on with the chains `which` [B, M'] only: indices into those so far."""
        self.start, self.out = self.start.gather(1, which), take(self.out, which)
        self.own = [tuple(take(t.transpose(1, 2), which).transpose(1, 2) for t in kv) for kv in self.own]
