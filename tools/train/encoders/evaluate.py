"""Retrieval on held-out stories: of all stories' passages, is the one nearest to a query that of its own story?

usage: evaluate.py STORIES tokenizer.json CHECKPOINT.pt...
Prints recall@1 and the mean reciprocal rank of each checkpoint, and of words weighted by their rarity (TF-IDF), which needs none;
and by how much each differs from the first checkpoint, with the 95 % interval of a bootstrap over the queries.
"""
import math, re, sys
from collections import Counter

import numpy as np
import torch

from encoder import Encoder
from pairs import held_out, read_stories


RESAMPLES = 10_000


def ranks_of(queries, passages):
    """[texts]: the place of each query's own passage, of embeddings [texts, width]; those with the same index belong together."""
    scores = queries @ passages.T
    return (scores > np.diag(scores)[:, None]).sum(1) + 1


def shown(ranks):
    return f"recall@1 {(ranks == 1).mean():.3f}, MRR {(1 / ranks).mean():.3f}"


def compared(ranks, first):
    """The difference of two models' figures over the same queries, with the middle 95 % of resampled ones."""
    draws = np.random.default_rng(0).integers(0, len(ranks), (RESAMPLES, len(ranks)))
    parts = []
    for name, gain in (("recall@1", (ranks == 1) * 1.0 - (first == 1)), ("MRR", 1 / ranks - 1 / first)):
        low, high = np.percentile(gain[draws].mean(1), [2.5, 97.5])
        parts.append(f"{name} {gain.mean():+.3f} ({low:+.3f} to {high:+.3f})")
    return ", ".join(parts)


def embedded(model, all_ids):
    """Texts of one length at a time, so that nothing is padded."""
    out = np.zeros((len(all_ids), model.embed.weight.shape[1]))
    lengths = np.array([len(ids) for ids in all_ids])
    with torch.no_grad():
        for n in np.unique(lengths):
            at = np.flatnonzero(lengths == n)
            out[at] = model(torch.from_numpy(np.stack([all_ids[i] for i in at]))).numpy()
    return out


def rare_words(queries, passages):
    texts = [Counter(re.findall(r"[a-z']+", text.lower())) for text in queries + passages]
    known = {word: i for i, word in enumerate(dict.fromkeys(w for t in texts for w in t))}
    found = Counter(w for t in texts for w in t)
    out = np.zeros((len(texts), len(known)))
    for row, words in zip(out, texts):
        for word, count in words.items():
            row[known[word]] = count * math.log(len(texts) / found[word])
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    return out[: len(queries)], out[len(queries) :]


def main(stories, tokenizer, paths):
    torch.set_num_threads(1)
    queries, passages = held_out(read_stories(stories, tokenizer))
    words = rare_words([t for t, _ in queries], [t for t, _ in passages])
    print(f"{len(queries)} stories\nTF-IDF of words: {shown(ranks_of(*words))}")
    first = None
    for path in paths:
        saved = torch.load(path)
        model = Encoder(saved["kind"])
        model.load_state_dict(saved["state"])
        ranks = ranks_of(*(embedded(model, [ids for _, ids in part]) for part in (queries, passages)))
        print(f"{saved['kind']}, seed {saved['seed']}, {saved['steps']} steps: {shown(ranks)}", flush=True)
        if first is None:
            first = ranks
        else:
            print(f"  than the first: {compared(ranks, first)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
