"""Makes test/golden/fixtures/tokenizers.json: small tokenizers of the kinds that published models have, and the ids that Python's
`tokenizers` and `tiktoken` give for texts with them.

    python3 -m venv venv && venv/bin/pip install tokenizers==0.23.3 tiktoken==0.14.0
    venv/bin/python test/golden/make/tokenizers/make.py > test/golden/fixtures/tokenizers.json

The vocabularies are trained on the texts below, the patterns are the published ones.
"""

import base64
import json
import unicodedata

import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
CL100K = rf"{CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
O200K = "|".join([
    rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]*[{LOWER}]+{CONTRACTION}?",
    rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]+[{LOWER}]*{CONTRACTION}?",
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
])
KIMI = [
    r"[\p{Han}]+",
    rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}&&[^\p{{Han}}]]*[{LOWER}&&[^\p{{Han}}]]+{CONTRACTION}?",
    rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}&&[^\p{{Han}}]]+[{LOWER}&&[^\p{{Han}}]]*{CONTRACTION}?",
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
]
HUNYUAN = rf"{CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
POSSESSIVE = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"

TEXTS = [
    "Hello, world! It's the weather-report: I'LL go, you'd stay, WE'RE done; don'T.",
    " leading,  double   and trailing spaces   ",
    "tabs\tand\r\nlines\n\n\n  indented\n\tmore \n",
    "The year 2026, 12345678 and 3.14159; ²³½ ٣٤٥ Ⅷ ५६७ 一二三 1٢3.",
    "São Paulo, naïve café, e\u0301t\u00e9, \u1e9e Straße, ǅ ʰ, ĳ; ΑΒΓ αβγ, Привет МИР, שלום, مرحبا بالعالم, हिन्दी में, ไทย",
    "你好，世界。今天天气怎么样？ 漢字かな交じり文 カタカナ 한국어 mixed中文and English。〇々",
    "👩\u200d💻🏽 🇩🇪 ❤\ufe0f 𝕏𝔘 𐍈 \U0001f600\U0001f600",
    "def f(x): return {'a': [x**2, -1]}  # comment\nif (a && b) || !c { d += 1; } // path/to/file\n/* x */",
    "\u00a0nbsp\u2003em\u3000wide\u2028line\u2029par\u0085next\ufefffeff\u200bzw\u00adsoft\u180emvs",
    "\x00\x01\x1f\x7f control \ufffd",
    "<|im_start|>user<|im_end|> [BOS]x[EOS] <tool>plain</tool> a <mask> b",
    "camelCaseWords HTTPServer iPhone XMLHttpRequest snake_case_word __init__ ABCdefGHI",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbb ababababab banana bananas",
    "http://example.org/a?b=c&d=%20#e user@host ...!!!??? --- *** $5.00 €20 ±1 «x» “y” ‘z’ — –",
    "\n", " ", "", "x", "'s", "\r\n\r\n", "  \n  x",
]


def byte_level(pattern, train, behavior="isolated", extra=(), use_regex=False, normalizer=None):
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    steps = [pre_tokenizers.Split(Regex(one), behavior) for one in ([pattern] if isinstance(pattern, str) else pattern or [])]
    steps = [*extra, *steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(train, trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False))
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("</tool>", normalized=True)])
    return tokenizer


def sentencepiece(metaspace, train):
    """As converted from SentencePiece: byte fallback, and a space in front by a normalizer or by Metaspace."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    special = ["<unk>", "[BOS]", "[EOS]", *[f"<0x{byte:02X}>" for byte in range(256)]]
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=special, show_progress=False, limit_alphabet=200)
    tokenizer.train_from_iterator(train, trainer)
    spec = json.loads(tokenizer.to_str())
    # Bytes are ordinary tokens, not added ones.
    spec["added_tokens"] = [one for one in spec["added_tokens"] if not one["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(spec))


def kinds(train):
    digits = pre_tokenizers.Digits(individual_digits=True)
    return {
        "o200k (gpt-oss, Llama 4)": byte_level(O200K, train),
        "cl100k (GLM, Qwen, MiniMax, dots)": byte_level(CL100K, train),
        "cl100k after NFC (Qwen)": byte_level(CL100K, train, normalizer=normalizers.NFC()),
        "possessive (GLM-4.5, Llama 3)": byte_level(POSSESSIVE, train),
        "GPT-2 (Granite, OLMoE)": byte_level(None, train, use_regex=True),
        "digits and GPT-2 (Granite code, SmolLM)": byte_level(None, train, use_regex=True, extra=[digits]),
        "three patterns (DeepSeek-V3, Hunyuan)": byte_level(
            [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"],
            train,
        ),
        "Kimi's pattern": byte_level("|".join(KIMI), train),
        "pattern merged with the text before": byte_level(r"\s+", train, "merged_with_previous"),
        "pattern merged with the text after": byte_level(r"\s", train, "merged_with_next"),
        "pattern, contiguous": byte_level(r"\p{N}", train, "contiguous"),
        "SentencePiece (Mixtral)": sentencepiece(False, train),
        "SentencePiece with Metaspace (Ernie)": sentencepiece(True, train),
    }


def ranks_of(tokenizer):
    """The bytes in their order, then what merges make in the order of the merges."""
    spec = json.loads(tokenizer.to_str())
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}
    tokens = [bytes([byte]) for byte in [*printable, *others]]
    tokens += [bytes(byte_of[char] for char in left + right) for left, right in spec["model"]["merges"]]
    return {token: rank for rank, token in enumerate(dict.fromkeys(tokens))}


def tiktoken_model(train):
    ranks = ranks_of(byte_level("|".join(KIMI), train))
    # A token that no merges make, as published vocabularies have; it is a word of its own.
    ranks["weatherreport".encode()] = len(ranks)
    first = len(ranks)
    named = {first: "[BOS]", first + 1: "[EOS]", first + 2: "<|im_end|>", first + 3: "<|im_start|>"}
    special = {named.get(id, f"<|reserved_token_{id}|>"): id for id in range(first, first + 256)}
    encoding = tiktoken.Encoding("small", pat_str="|".join(KIMI), mergeable_ranks=ranks, special_tokens=special)
    lines = "".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items())
    texts = [*TEXTS, "weatherreport weatherreports", f"<|reserved_token_{first + 9}|>"]
    return {
        "model": lines,
        "config": {
            "added_tokens_decoder": {str(id): {"content": name, "special": name != "<|im_start|>"} for id, name in named.items()},
            "auto_map": {"AutoTokenizer": ["tokenization_small.Small", None]},
            "bos_token": "[BOS]",
            "eos_token": "[EOS]",
        },
        "source": 'class Small:\n    pat_str = "|".join(\n        [\n'
        + "".join(f'            r"""{part}""",\n' for part in KIMI)
        + "        ]\n    )\n",
        "ids": {text: encoding.encode(text, allowed_special="all") for text in texts},
    }


def hunyuan_model(train):
    """As HYTokenizer of Hunyuan-A13B: ranks by the order of lines, of which repeated ones don't count, special tokens after them, NFC."""
    ranks = ranks_of(byte_level(HUNYUAN, train, normalizer=normalizers.NFC()))
    names = ["<|endoftext|>", "<|startoftext|>", "<|bos|>", "<|eos|>", "<|pad|>", *[f"<|extra_{i}|>" for i in range(205)]]
    special = {name: len(ranks) + at for at, name in enumerate(names)}
    encoding = tiktoken.Encoding("hunyuan", pat_str=HUNYUAN, mergeable_ranks=ranks, special_tokens=special)
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items()]
    texts = [*TEXTS, "<|startoftext|>x<|extra_4|>y<|extra_0|><|eos|>"]
    ids = {text: encoding.encode(unicodedata.normalize("NFC", text), allowed_special="all") for text in texts}
    return {
        "model": "".join([*lines[:300], lines[7], *lines[300:]]),
        "config": {
            "auto_map": {"AutoTokenizer": ["tokenization_hy.HYTokenizer", None]},
            "additional_special_tokens": ["<|startoftext|>", "<|extra_0|>", "<|extra_4|>", "<|extra_5|>", "<|eos|>"],
            "eos_token": "<|eos|>",
            "pad_token": "<|pad|>",
        },
        "source": f'PAT_STR = r"""{HUNYUAN}"""\n',
        "ids": ids,
    }


def main():
    train = TEXTS * 3
    tokenizers = {
        name: {"json": json.loads(one.to_str()), "ids": {text: one.encode(text, add_special_tokens=False).ids for text in TEXTS}}
        for name, one in kinds(train).items()
    }
    print(json.dumps({"tokenizers": tokenizers, "tiktoken": tiktoken_model(train), "hunyuan": hunyuan_model(train)}, ensure_ascii=False))


main()
