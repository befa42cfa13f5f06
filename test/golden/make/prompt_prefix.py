"""The tokens that transformers puts before and after a text, by post-processor and class of tokenizer.

test/golden/make/families/requirements.txt has the versions; then: python test/golden/make/prompt_prefix.py
"""
import json, os, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "families"))
os.environ["HF_HUB_OFFLINE"] = "1"
import tokenizers, transformers
from tokenizer import SPECIAL, tokenizer_json

TEXTS = ["the an", "<|im_start|>the", "<|begin|>the"]
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def special(id):
    return {"SpecialToken": {"id": SPECIAL[id], "type_id": 0}}


def template(before, after):
    a, b = ({"Sequence": {"id": id, "type_id": type}} for id, type in [("A", 0), ("B", 1)])
    tokens = {SPECIAL[id]: {"id": SPECIAL[id], "ids": [id], "tokens": [SPECIAL[id]]} for id in before + after}
    single = [special(id) for id in before] + [a] + [special(id) for id in after]
    return {"type": "TemplateProcessing", "single": single, "pair": single + [b], "special_tokens": tokens}


def sequence(*processors):
    return {"type": "Sequence", "processors": list(processors)}


def several_ids():
    """One name for two tokens."""
    made = template([0], [])
    made["special_tokens"][SPECIAL[0]] = {"id": SPECIAL[0], "ids": [0, 2], "tokens": [SPECIAL[0], SPECIAL[2]]}
    return made


CLS = {"sep": [SPECIAL[1], 1], "cls": [SPECIAL[0], 0]}
POST_PROCESSORS = {
    "none": None,
    "byte level": BYTE_LEVEL,
    "bos": template([0], []),
    "byte level, then bos": sequence(BYTE_LEVEL, template([0], [])),
    "bos and another": template([0, 2], []),
    "bos and eos": template([0], [1]),
    "eos": template([], [1]),
    "no bos but another": template([2], []),
    "one name for two tokens": several_ids(),
    "sequence within a sequence": sequence(BYTE_LEVEL, sequence(template([0, 2], [1]), BYTE_LEVEL)),
    "roberta": {"type": "RobertaProcessing", "trim_offsets": True, "add_prefix_space": False, **CLS},
    "bert": {"type": "BertProcessing", **CLS},
}


def main():
    cases = []
    for name, post_processor in POST_PROCESSORS.items():
        for tokenizer_class in ["PreTrainedTokenizerFast", "LlamaTokenizerFast", "Qwen2Tokenizer"]:
            config = {"tokenizer_class": tokenizer_class, "bos_token": SPECIAL[0], "eos_token": SPECIAL[1]}
            with tempfile.TemporaryDirectory() as folder:
                for file, content in [
                    ("tokenizer.json", tokenizer_json() | {"post_processor": post_processor}),
                    ("tokenizer_config.json", config),
                ]:
                    json.dump(content, open(os.path.join(folder, file), "w"))
                tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            for text in TEXTS:
                cases.append({"post_processor": name, "config": config, "text": text, **around(tokenizer, text)})
    # Files of one tokenizer, which all cases share but for the post-processor.
    document = {
        "versions": {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__},
        "tokenizer": tokenizer_json(),
        "post_processors": POST_PROCESSORS,
        "cases": cases,
    }
    path = os.path.join(HERE, "../fixtures/prompt-prefix.json")
    json.dump(document, open(path, "w"), ensure_ascii=True)
    print(f"{path}: {len(cases)} cases")


def around(tokenizer, text):
    """The text's own ids, and those that are added before and after it."""
    ids = tokenizer(text)["input_ids"]
    plain = tokenizer(text, add_special_tokens=False)["input_ids"]
    # A text that begins with the token that is put before it: its own is the later one.
    at = max(i for i in range(len(ids)) if ids[i : i + len(plain)] == plain)
    return {"ids": plain, "before": ids[:at], "after": ids[at + len(plain) :]}


main()
