"""A byte-level BPE tokenizer of 108 tokens: four special ones, printable ASCII, space, newline and eight merges. The small one
has 46, with only the characters that the fixtures' texts consist of."""
import json, os

SPECIAL = ["<|begin|>", "<|end|>", "<|im_start|>", "<|im_end|>"]
SPACE, NEWLINE = "\u0120", "\u010a"
MERGES = [("t", "h"), ("th", "e"), ("i", "n"), ("e", "r"), ("a", "n"), (SPACE, "the"), (SPACE, "a"), ("an", "d")]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


PRINTABLE = [chr(c) for c in range(33, 127)]
FEW = [c for c in PRINTABLE if c.islower() or c in "T()3!"]


def tokens_of(small):
    return SPECIAL + (FEW if small else PRINTABLE) + [SPACE, NEWLINE] + [a + b for a, b in MERGES]


def tokenizer_json(small):
    tokens = tokens_of(small)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [
            {"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
            for i, token in enumerate(SPECIAL)
        ],
        "normalizer": None, "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": False, "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [f"{a} {b}" for a, b in MERGES],
        },
    }


def write_tokenizer(folder, changes, template_in_file, small):
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIAL[0], "eos_token": SPECIAL[1], "add_bos_token": True}
    config |= changes
    if template_in_file:
        open(os.path.join(folder, "chat_template.jinja"), "w").write(CHAT_TEMPLATE)
    else:
        config["chat_template"] = CHAT_TEMPLATE
    for name, content in [("tokenizer.json", tokenizer_json(small)), ("tokenizer_config.json", config)]:
        json.dump(content, open(os.path.join(folder, name), "w"), indent=1)
