"""Retrieval on held-out stories: of all stories' passages, is the one nearest to a query that of its own story?

usage: evaluate.py STORIES tokenizer.json CHECKPOINT.pt...
Prints recall@1 and the mean reciprocal rank of each checkpoint, and of words weighted by their rarity (TF-IDF), which needs none.
"""
import math, re, sys
from collections import Counter

import numpy as np
import torch

from encoder import Encoder
from pairs import held_out, read_stories


def figures(queries, passages):
    """(recall@1, MRR) of embeddings [texts, width], of which those with the same index belong together."""
    scores = queries @ passages.T
    ranks = (scores > np.diag(scores)[:, None]).sum(1) + 1
    return (ranks == 1).mean(), (1 / ranks).mean()


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
    print(f"{len(queries)} stories\nTF-IDF of words: recall@1 %.3f, MRR %.3f" % figures(*words))
    for path in paths:
        saved = torch.load(path)
        model = Encoder(saved["kind"])
        model.load_state_dict(saved["state"])
        result = figures(*(embedded(model, [ids for _, ids in part]) for part in (queries, passages)))
        print(f"{saved['kind']}, seed {saved['seed']}, {saved['steps']} steps: recall@1 %.3f, MRR %.3f" % result, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
