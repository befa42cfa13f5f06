"""Texts with the frozen main model's hidden states, which the MTP module is trained on (train_mtp.py).

usage: states.py MODEL_DIR OUT_DIR STORIES SAMPLES SEED
Half of what drafting meets is text like the training text, half is what the model itself writes: OUT_DIR gets STORIES stories of
storygen.py with this seed, and SAMPLES texts that the model continues from the first tokens of others, greedily and at temperatures
0.7 and 1. Files, each for up to 256 texts: N.ids.npy [texts, length] padded with zeros, N.lengths.npy, N.hidden.npy
[texts, length, hidden_size], the hidden states after the final norm, and N.top.npy and N.mass.npy [texts, length, TOP]: the likeliest
next tokens and their probabilities.
"""
import os, random, sys
import numpy as np
import torch
import torch.nn.functional as F
from checkpoint import load_model
from encode import Tokenizer
from model import Precision, rope_table
from storygen import write_story

LENGTH, PER_FILE, TOP = 320, 256, 32
# Prompt lengths and temperatures that samples are spread over.
PROMPTS, TEMPERATURES = (4, 8, 16, 32, 48, 64), (0.0, 0.7, 1.0)


@torch.no_grad()
def hidden_states(model, ids, caches=None, at=0, rope=None):
    """ids [B, S] of positions at, at + 1, ... -> [B, S, D] after the final norm. `caches` holds keys and values of each layer."""
    S = ids.shape[1]
    rope = tuple(t[at:at + S] for t in rope or rope_table(model.c, at + S))
    later = torch.ones(S, at + S).triu(at + 1).bool()
    x = F.embedding(ids, model.embed_tokens)
    for i, layer in enumerate(model.layers):
        q, k, v = layer.self_attn.qkv(layer.input_layernorm(x), rope)
        if caches is not None:
            for cache, new in zip(caches[i], (k, v)):
                cache[:, :, at:at + S] = new
            k, v = (cache[:, :, :at + S] for cache in caches[i])
        score = (q @ k.transpose(-1, -2)).float().masked_fill(later, float("-inf"))
        x = x + layer.self_attn.out(F.softmax(score, -1).to(v.dtype) @ v).float()
        x = x + layer.mlp(layer.post_attention_layernorm(x)).float()
    return model.norm(x)


def draw(logits, temperature, u):
    """The token of each row by the inverse of its cumulative distribution, as Shoal draws; greedily at temperature 0."""
    if temperature == 0:
        return logits.argmax(-1)
    mass = F.softmax(logits.double() / temperature, -1).cumsum(-1)
    return torch.searchsorted(mass, (u.double() * mass[..., -1])[..., None], right=True)[..., 0].clamp(max=logits.shape[-1] - 1)


@torch.no_grad()
def generate(model, prompts, length, temperature, generator):
    """Continue prompts [B, P] to `length` tokens or the end. -> ids [B, length], lengths (end included), hidden, u [B, length]: token
    t was drawn with u[:, t]."""
    c, (B, P) = model.c, prompts.shape
    rope = rope_table(c, length)
    heads = c["num_attention_heads"]
    caches = [[torch.zeros(B, heads, length, d) for d in (c["qk_nope_head_dim"] + c["qk_rope_head_dim"], c["v_head_dim"])] for _ in model.layers]
    ids, u = torch.zeros(B, length, dtype=torch.long), torch.rand(B, length, generator=generator)
    hidden = torch.zeros(B, length, c["hidden_size"])
    ids[:, :P], at, new = prompts, 0, P
    lengths = torch.full((B,), length)
    while at < length:
        hidden[:, at:new] = hidden_states(model, ids[:, at:new], caches, at, rope)
        at = new
        if at == length:
            break
        token = draw(F.linear(hidden[:, at - 1], model.lm_head), temperature, u[:, at])
        going = lengths == length
        ids[:, at] = torch.where(going, token, 0)
        new = at + 1
        lengths[going & (token == c["eos_token_id"])] = new
        if (lengths < length).all():
            break
    return ids, lengths, hidden, u


def story_ids(tokenizer, rng, count, eos):
    return [[eos] + tokenizer.encode(write_story(rng)) + [eos] for _ in range(count)]


def pad(texts):
    lengths = torch.tensor([min(len(t), LENGTH) for t in texts])
    ids = torch.zeros(len(texts), int(lengths.max()), dtype=torch.long)
    for row, t in zip(ids, texts):
        row[:min(len(t), LENGTH)] = torch.tensor(t[:LENGTH])
    return ids, lengths


def save(out, number, model, ids, lengths, hidden):
    most = [F.linear(h, model.lm_head).softmax(-1).topk(TOP) for h in hidden]
    arrays = {"ids": ids.numpy().astype(np.uint16), "hidden": hidden.numpy().astype(np.float16),
              "top": torch.stack([m.indices for m in most]).numpy().astype(np.uint16),
              "mass": torch.stack([m.values for m in most]).numpy().astype(np.float16), "lengths": lengths.numpy()}
    for name, array in arrays.items():
        np.save(f"{out}/part.npy", array)
        os.replace(f"{out}/part.npy", f"{out}/{number}.{name}.npy")


@torch.no_grad()
def main(folder, out, stories, samples, seed):
    Precision.matmul = torch.float32
    os.makedirs(out, exist_ok=True)
    model, tokenizer = load_model(folder), Tokenizer(f"{folder}/tokenizer.json")
    rng, generator = random.Random(int(seed)), torch.Generator().manual_seed(int(seed))
    eos, number = model.c["eos_token_id"], 0
    for at in range(0, int(stories), PER_FILE):
        texts = story_ids(tokenizer, rng, min(PER_FILE, int(stories) - at), eos)
        ids, lengths = pad(sorted(texts, key=len))
        parts = [hidden_states(model, part[:, :int(n.max())]) for part, n in zip(ids.split(32), lengths.split(32))]
        hidden = torch.cat([F.pad(p, (0, 0, 0, ids.shape[1] - p.shape[1])) for p in parts])
        save(out, f"stories-{seed}-{number}", model, ids, lengths, hidden)
        number += 1
        print("stories", at + len(texts), "tokens", int(lengths.sum()), flush=True)
    for at in range(0, int(samples), PER_FILE):
        size, temperature = rng.choice(PROMPTS), TEMPERATURES[number % len(TEMPERATURES)]
        texts = story_ids(tokenizer, rng, min(PER_FILE, int(samples) - at), eos)
        prompts = torch.tensor([t[:size] for t in texts])
        ids, lengths, hidden, _ = generate(model, prompts, LENGTH, temperature, generator)
        save(out, f"samples-{seed}-{number}", model, ids, lengths, hidden)
        number += 1
        print("samples", at + len(texts), "temperature", temperature, "prompt", size, "tokens", int(lengths.sum()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
