"""Pairs of passages from one story, for contrastive training and for retrieval.

A story is cut into two halves at a sentence. What the first half says is the passage, what the second says the query, so that a
pair shares its people and its plot, and few phrases.
"""
import re

import numpy as np
from tokenizers import Tokenizer

SEPARATOR = "\n<|endoftext|>\n"
# Tokens of a training batch's queries and passages: all texts of a batch are equally long, so that nothing is padded.
QUERY_TOKENS = (16, 24, 32)
PASSAGE_TOKENS = (32, 48, 64)
MEAN_TOKENS = (sum(QUERY_TOKENS) / 3 + sum(PASSAGE_TOKENS) / 3) / 2  # 36


class Story:
    """Token ids of a story, and where its sentences begin."""

    def __init__(self, text, tokenizer):
        sentences = re.findall(r"\S.*?[.!?]\"?(?=\s|$)", text.replace("\n\n", " "), re.S)
        encoded = [tokenizer.encode(s if i == 0 else " " + s).ids for i, s in enumerate(sentences)]
        self.sentences = sentences
        self.ids = np.array([i for ids in encoded for i in ids])
        self.starts = np.cumsum([0] + [len(ids) for ids in encoded])
        self.middle = len(sentences) // 2

    def window(self, rng, first, end, count):
        """`count` tokens from a sentence's begin on, between two sentences; None if none has as many after it."""
        starts = [s for s in self.starts[first:end] if s + count <= self.starts[end]]
        if not starts:
            return None
        at = starts[rng.integers(len(starts))]
        return self.ids[at : at + count]

    def whole(self, first, least, most):
        """Whole sentences from `first` on, of at least `least` tokens if the story has them, cut at `most`: (text, ids)."""
        end = first + 1
        while end < len(self.sentences) and self.starts[end] - self.starts[first] < least:
            end += 1
        return " ".join(self.sentences[first:end]), self.ids[self.starts[first] : self.starts[end]][:most]


def read_stories(path, tokenizer_path):
    tokenizer = Tokenizer.from_file(tokenizer_path)
    texts = [t.strip() for t in open(path).read().split(SEPARATOR) if t.strip()]
    return [Story(text, tokenizer) for text in dict.fromkeys(texts)]


def batches(stories, size, steps, seed):
    """Yields (queries [size, n], passages [size, m]) of `size` different stories."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        n, m = rng.choice(QUERY_TOKENS), rng.choice(PASSAGE_TOKENS)
        queries, passages = [], []
        for i in rng.permutation(len(stories)):
            story = stories[i]
            query = story.window(rng, story.middle, len(story.sentences), n)
            passage = story.window(rng, 0, story.middle, m)
            if query is None or passage is None:
                continue
            queries.append(query)
            passages.append(passage)
            if len(queries) == size:
                break
        yield np.stack(queries), np.stack(passages)


def held_out(stories):
    """[(text, ids)] of queries and of passages, one each of every story, in whole sentences."""
    queries = [story.whole(story.middle, 16, 32) for story in stories]
    passages = [story.whole(0, 48, 64) for story in stories]
    return queries, passages
