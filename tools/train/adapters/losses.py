"""Losses of held-out texts with PEFT and transformers, each under the base model and its own adapter: what the golden test expects.

usage: losses.py MODEL_DIR ADAPTERS_DIR OUT.json
"""
import json, math, sys
from pathlib import Path

import peft.utils.transformers_weight_conversion as conversion
import torch
import torch.nn.functional as F
from peft import PeftModel
from transformers import AutoModelForCausalLM
from encode_texts import encoded, tokenizer_of
from styles import STYLES, texts

TEXTS = 2


# With transformers 5, PEFT takes gate_proj, up_proj and down_proj of such models for routed experts of transformers 4 and drops the
# dense and shared ones that they are here. What it computes is not changed by leaving that out.
conversion.convert_peft_config_for_transformers = lambda *_, **__: None


def base(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


@torch.no_grad()
def loss(model, lists):
    """Mean over tokens, in float32."""
    total = sum(F.cross_entropy(model(torch.tensor([ids]), use_cache=False).logits[0, :-1], torch.tensor(ids[1:]), reduction="sum").item() for ids in lists)
    return total / sum(len(ids) - 1 for ids in lists)


def main(folder, adapters, out):
    torch.set_num_threads(1)
    tokenizer, plain, result = tokenizer_of(folder), base(folder), {}
    for style in STYLES:
        lists = encoded(tokenizer, texts(style, TEXTS, "held out"))
        model = PeftModel.from_pretrained(base(folder), Path(adapters) / style).eval()
        result[style] = dict(ids=lists, base=loss(plain, lists), adapter=loss(model, lists))
        print(style, result[style]["base"], result[style]["adapter"])
    lines = ",\n".join(f" {json.dumps(style)}: {json.dumps(value)}" for style, value in result.items())
    Path(out).write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
