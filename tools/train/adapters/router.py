"""How often a request would go to the right adapter, by what of a text is compared and how: the figures in the adapters' README.

usage: router.py MODEL_DIR ADAPTERS_DIR

Held-out prompts are the beginnings of texts of each style and of the base model's own stories, with those left out that begin as all
of them may, and some requests written by hand. A prompt goes to the adapter whose description or example is nearest to it, or to the
base model below a threshold. The threshold of a variant is the one that is right most often on prompts of another seed.
"""
import json, math, random, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import torch
import torch.nn.functional as F
from checkpoint import load_model
from encode_texts import tokenizer_of
from model import Precision, rope_table
from storygen import write_story
from styles import STYLES, texts

LENGTHS, EACH = (4, 8, 16, 32), 60
SMOOTH = 1e-3
NEUTRAL = ("Once upon", "One day", "There was", "There once")
BY_HAND = {
    "letters": ["Write a letter to my uncle.", "dear santa", "Can you write to Grandpa and ask him how he is?", "Hello Ben, how are you today?",
                "A letter from a girl to her friend", "Thank you for the present, dear aunt!", "Yours, with love", "Dear Dad, yesterday we went to the zoo."],
    "rhymes": ["A poem about a bee and a hen, please.", "The little cat sat on the mat", "The sun was warm, the grass was green", "make it rhyme: a fox and a box",
               "So close your eyes and go to bed", "Hush, little one, the night is near,", "A frog and a snail went down the lane", "Write two rhyming lines."],
    "pirates": ["A story about treasure on an island", "The captain looked at the old map.", "Yo ho, yo ho!", "Tell me about a ship in a storm at sea.",
                "Arr! Where is the gold?", "A pirate with a wooden leg", "The crew of the Black Gull was hungry.", "The parrot flew over the waves."],
    None: ["Tell me a story about a brave dog.", "A girl found a key in the garden.", "Sam wanted to bake bread.", "What is the capital of France?",
           "Write a function that adds two numbers.", "The robot was sad because nobody played with it.", "Mia and Leo built a tree house.", "A little cloud wanted to rain."],
}


def prompts(tokenizer, seed):
    """(style or None, ids)"""
    rng = random.Random(f"router {seed}")
    for style in (*STYLES, None):
        documents = texts(style, 4 * EACH, f"router {seed}") if style else [write_story(rng) for _ in range(4 * EACH)]
        documents = [d for d in documents if not d.startswith(NEUTRAL)][:EACH]
        for i, document in enumerate(documents):
            yield style, tokenizer.encode(document)[:LENGTHS[i % len(LENGTHS)]]
        if seed == "test":
            for text in BY_HAND[style]:
                yield style, tokenizer.encode(text)


@torch.no_grad()
def hidden_means(model, ids):
    """The means of the input to every layer and of the output of the last."""
    rope, x = rope_table(model.c, len(ids)), F.embedding(torch.tensor([ids]), model.embed_tokens)
    means = [x[0].mean(0)]
    for layer in model.layers:
        x = layer(x, rope)
        means.append(x[0].mean(0))
    return means


def rare_mean(table, ids):
    """Rare tokens count more: a / (a + p) (smooth inverse frequency, Arora et al. 2017), with p by Zipf's law, as the ids of merged
    tokens are in the order of their frequency."""
    rank = torch.tensor(ids) + 1.0
    p = 1 / (rank * math.log(len(table)))
    w = SMOOTH / (SMOOTH + p)
    return (table[ids] * w[:, None]).sum(0)


def log_mean(table, ids):
    return (table[ids] * (torch.tensor(ids) + 2.0).log()[:, None]).sum(0)


def main(folder, adapters):
    torch.set_num_threads(1)
    Precision.matmul = torch.float32
    tokenizer, model = tokenizer_of(folder), load_model(folder)
    table = model.embed_tokens.detach()
    variants = {
        "input embeddings": lambda ids: table[ids].mean(0),
        "input embeddings, each token once": lambda ids: table[list(set(ids))].mean(0),
        "input embeddings, less the vocabulary's mean": lambda ids: table[ids].mean(0) - table.mean(0),
        "by rarity": lambda ids: rare_mean(table, ids),
        "by rarity, each token once": lambda ids: rare_mean(table, sorted(set(ids))),
        "by rarity, each token once, less the vocabulary's mean": lambda ids: rare_mean(table - table.mean(0), sorted(set(ids))),
        "by the logarithm of the id, each token once": lambda ids: log_mean(table, sorted(set(ids))),
        **{f"hidden states after layer {i}": (lambda ids, i=i: hidden_means(model, ids)[i]) for i in range(1, 7)},
        "hidden states after the last layer, after <|endoftext|>": lambda ids: hidden_means(model, [0, *ids])[-1],
    }
    own = {}
    for style in STYLES:
        about = json.load(open(f"{adapters}/{style}/shoal_adapter.json"))
        own[style] = [tokenizer.encode(text) for text in (about["description"], *about["examples"])]
    sets = {seed: list(prompts(tokenizer, seed)) for seed in ("tune", "test")}
    for name, vector in variants.items():
        points = {style: torch.stack([F.normalize(vector(ids), dim=0) for ids in lists]) for style, lists in own.items()}
        for how in ("nearest text", "mean of texts"):
            scored = {}
            for seed, items in sets.items():
                scored[seed] = []
                for style, ids in items:
                    x = F.normalize(vector(ids), dim=0)
                    by = {s: (p @ x).max().item() if how == "nearest text" else (F.normalize(p.mean(0), dim=0) @ x).item() for s, p in points.items()}
                    best = max(by, key=by.get)
                    scored[seed].append((style, best, by[best]))
            right = lambda seed, t: sum(style == (best if score >= t else None) for style, best, score in scored[seed]) / len(scored[seed])
            threshold = max((score for _, _, score in scored["tune"]), key=lambda t: right("tune", t))
            among = [style == best for style, best, _ in scored["test"] if style]
            kept = [score < threshold for style, _, score in scored["test"] if not style]
            print(f"{name}; {how}: right {right('test', threshold):.3f}, of adapters {sum(among) / len(among):.3f} without a threshold, of the base model {sum(kept) / len(kept):.3f}, "
                  f"threshold {threshold:.3f} ({len(scored['test'])} prompts)", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
