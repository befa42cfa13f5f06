"""A small tokenizer of XLM-RoBERTa's kind: SentencePiece's Unigram model with a table of replacements (Precompiled)."""
import json, os, tempfile, unicodedata

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
SPACES = [*range(0x9, 0xE), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF]
REMOVED = [*range(0x1, 0x9), *range(0xE, 0x20), 0x7F, 0x200B, 0x200E, 0x200F]
COMPATIBLE = [*range(0xFF01, 0xFF5E), *range(0xFB00, 0xFB07), *range(0x2160, 0x216C), *range(0x2460, 0x246A), *range(0xFF71, 0xFF76), 0xB2, 0xBD, 0x2126]
COMPOSED = ["e\u0301", "a\u0308", "n\u0303", "c\u0327", "o\u0302\u0301", "\u30ab\u3099", "\uff76\uff9e", "\u1112\u1161\u11ab"]


def rules():
    """Lines of a table: code points before and after."""
    table = {chr(c): " " for c in SPACES} | {chr(c): "" for c in REMOVED}
    table |= {text: unicodedata.normalize("NFKC", text) for text in [*map(chr, COMPATIBLE), *COMPOSED]}
    hexes = lambda text: " ".join(f"{ord(c):04X}" for c in text)
    return "".join(f"{hexes(a)}\t{hexes(b)}\n" for a, b in sorted(table.items()))


def train(text, vocab_size):
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: os.path.join(folder, name)
        open(path("text"), "w").write(text)
        open(path("rules.tsv"), "w").write(rules())
        sentencepiece.SentencePieceTrainer.train(
            input=path("text"), model_prefix=path("model"), vocab_size=vocab_size, model_type="unigram",
            normalization_rule_tsv=path("rules.tsv"), num_threads=1, minloglevel=2,
        )
        model = sentencepiece_model_pb2.ModelProto()
        model.ParseFromString(open(path("model.model"), "rb").read())
        return model


def make_tokenizer(text, vocab_size):
    model = train(text, vocab_size)
    pieces = [(token, 0.0) for token in SPECIAL] + [(p.piece, p.score) for p in model.pieces[3:]] + [("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens([*SPECIAL, "<mask>"])
    return tokenizer


def write_tokenizer(tokenizer, folder, max_tokens):
    tokenizer.save(os.path.join(folder, "tokenizer.json"), pretty=False)
    config = {
        "bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "mask_token": "<mask>", "pad_token": "<pad>",
        "sep_token": "</s>", "unk_token": "<unk>", "model_max_length": max_tokens, "tokenizer_class": "XLMRobertaTokenizer",
    }
    json.dump(config, open(os.path.join(folder, "tokenizer_config.json"), "w"), indent=1)
