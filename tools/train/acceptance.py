"""How often the MTP module's drafts are right, by depth, where all before them were right.

usage: acceptance.py MODEL_DIR STORIES SEED [OUT.pt]      with OUT.pt from train_mtp.py: its module instead of the folder's
The main model continues the first 41 tokens of stories of storygen.py by 96 tokens, greedily and at temperature 1. From every token
of these the module drafts as Shoal's MTP drafter does: on its own hidden states, until a draft is wrong or an end; at temperature 1
with the random number that the main model's token was drawn with (the inverse of the cumulative distribution).
"""
import random, sys
import torch
import torch.nn.functional as F
from checkpoint import load_model, round_module
from encode import Tokenizer
from model import Precision
from states import draw, generate, story_ids
from unroll import Unroll

PROMPT, ANSWER, DEPTH = 41, 96, 8


@torch.no_grad()
def count(model, ids, lengths, hidden, u, temperature, first=PROMPT):
    """Drafts made and drafts right, [DEPTH] each, from every token of the answers, which begin at position `first`."""
    start = torch.arange(first - 1, ids.shape[1] - 2)[None].repeat(len(ids), 1)
    unroll, alive = Unroll(model, ids, hidden, start), torch.ones_like(start, dtype=torch.bool)
    made, right = torch.zeros(DEPTH), torch.zeros(DEPTH)
    for depth in range(DEPTH):
        at = unroll.start + depth + 2  # of the drafted token
        alive = alive & (at < lengths[:, None])
        most = max(1, int(alive.sum(-1).max()))
        which = alive.int().argsort(dim=-1, descending=True, stable=True)[:, :most]
        unroll.keep(which)
        alive, at = alive.gather(1, which), at.gather(1, which)
        unroll.start, at = torch.where(alive, unroll.start, 0), torch.where(alive, at, 0)
        draft = draw(F.linear(unroll.step(), model.lm_head), temperature, u.gather(1, at))
        alive = alive & (draft != model.c["eos_token_id"])  # nothing comes after an end, so it is never a draft
        made[depth] += alive.sum()
        alive = alive & (draft == ids.gather(1, at))
        right[depth] += alive.sum()
    return made, right


@torch.no_grad()
def measure(model, tokenizer, stories, seed, temperature):
    texts = [t[:PROMPT] for t in story_ids(tokenizer, random.Random(seed), stories, model.c["eos_token_id"])]
    generator = torch.Generator().manual_seed(seed)
    made, right = torch.zeros(DEPTH), torch.zeros(DEPTH)
    for part in torch.tensor(texts).split(64):
        for m, sum_ in zip(count(model, *generate(model, part, PROMPT + ANSWER, temperature, generator), temperature), (made, right)):
            sum_ += m
    return made, right


def main(folder, stories, seed, module=None):
    Precision.matmul = torch.float32
    model, tokenizer = load_model(folder), Tokenizer(f"{folder}/tokenizer.json")
    if module:
        model.mtp.load_state_dict(torch.load(module)["module"])
        round_module(model)
    for temperature in (0.0, 1.0):
        made, right = measure(model, tokenizer, int(stories), int(seed), temperature)
        rate = right / made.clamp(min=1)
        print(f"temperature {temperature:g}: right by depth {' '.join(f'{r:.3f}' for r in rate)}, drafts {' '.join(f'{int(m)}' for m in made)}, "
              f"{1 + float(right.sum() / made[0]):.2f} tokens a pass of {DEPTH} drafts", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
