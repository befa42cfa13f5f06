"""Trains an encoder contrastively on pairs of passages of one story.

usage: train.py KIND STORIES tokenizer.json OUT.pt STEPS SEED
KIND is dense, expert-choice or soft. The same arguments give the same order of batches for each kind.
"""
import math, sys, time

import torch
import torch.nn.functional as F

from encoder import Encoder, multiply_adds
from pairs import batches, read_stories

PAIRS, PEAK, WARM_UP, TEMPERATURE = 64, 2e-3, 20, 0.05


def rate(step, steps):
    """Linear warm-up, then half a cosine down to a twentieth."""
    if step < WARM_UP:
        return PEAK * (step + 1) / WARM_UP
    done = (step - WARM_UP) / max(1, steps - WARM_UP)
    return PEAK * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def main(kind, stories, tokenizer, out, steps, seed):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = Encoder(kind)
    total = sum(p.numel() for p in model.parameters())
    print(f"{kind}: {total / 1e6:.2f} M parameters, {multiply_adds(kind):.0f} multiply-adds of a token in an expert layer", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, betas=(0.9, 0.98), weight_decay=0.01)
    began, losses = time.time(), []
    for step, (queries, passages) in enumerate(batches(read_stories(stories, tokenizer), PAIRS, steps, seed)):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        scores = model(torch.from_numpy(queries)) @ model(torch.from_numpy(passages)).t() / TEMPERATURE
        own = torch.arange(PAIRS)
        loss = (F.cross_entropy(scores, own) + F.cross_entropy(scores.t(), own)) / 2
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 25 == 24:
            print(f"step {step + 1}: loss {sum(losses[-25:]) / 25:.3f}, {time.time() - began:.0f} s", flush=True)
    torch.save({"kind": kind, "seed": seed, "steps": steps, "state": model.state_dict()}, out)


if __name__ == "__main__":
    kind, stories, tokenizer, out, steps, seed = sys.argv[1:]
    main(kind, stories, tokenizer, out, int(steps), int(seed))
