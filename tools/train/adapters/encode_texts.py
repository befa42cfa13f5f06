"""Texts as the default model is given them: each begins and ends with <|endoftext|>."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from encode import Tokenizer  # noqa: E402

CONTEXT = 512


def tokenizer_of(folder):
    return Tokenizer(f"{folder}/tokenizer.json")


def encoded(tokenizer, documents):
    end = tokenizer.vocab["<|endoftext|>"]
    return [[end, *tokenizer.encode(text), end][:CONTEXT] for text in documents]
