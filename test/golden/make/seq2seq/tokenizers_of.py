"""Small tokenizers of T5's and NLLB's kinds, made by transformers' own classes."""
import os, sys

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AddedToken, NllbTokenizer, T5Tokenizer

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../encoders"))
from tokenizer import train  # noqa: E402: a SentencePiece model with a table of replacements

LANGUAGES = ["deu_Latn", "eng_Latn", "fra_Latn", "zho_Hans"]
TEXT = open(os.path.join(os.path.dirname(__file__), "../../fixtures/aesop.txt")).read() + "caf\u00e9 na\u00efve \u00e4\u00f1\u00e7\n0123456789\n"


def switch_tokenizer():
    model = train(TEXT, 200)
    sentinels = [f"<extra_id_{i}>" for i in range(10)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)] + [(p.piece, p.score) for p in model.pieces[3:]] + [(s, 0.0) for s in reversed(sentinels)]
    # As published: white space before a sentinel is not part of the text.
    added = [AddedToken(s, lstrip=True, rstrip=False, normalized=False, special=True) for s in sentinels]
    return T5Tokenizer(vocab=pieces, _spm_precompiled_charsmap=model.normalizer_spec.precompiled_charsmap, extra_ids=10, additional_special_tokens=added, model_max_length=128)


def nllb_tokenizer():
    charsmap = train(TEXT, 200).normalizer_spec.precompiled_charsmap
    trained = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    trained.normalizer = normalizers.Precompiled(charsmap)
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trained.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=220, special_tokens=special, show_progress=False))
    import json

    model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    return NllbTokenizer(vocab=model["vocab"], merges=merges, _spm_precompiled_charsmap=charsmap, extra_special_tokens=LANGUAGES, src_lang="eng_Latn", model_max_length=128)
