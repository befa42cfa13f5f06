"""Writes the fixtures of test/golden/fixtures/adapters; README.md says what is in them."""
import json
import shutil
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import transformers_weight_conversion
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

sys.path.append(str(Path(__file__).parent.parent / "families"))
from reference import routers, routing  # noqa: E402

# It takes `gate_proj` of a dense layer or a shared expert for that of the routed experts too.
transformers_weight_conversion.convert_peft_config_for_transformers = lambda *_, **__: None

FAMILIES = Path(__file__).parents[2] / "fixtures" / "families"
ATTENTION_GQA = ["q_proj", "k_proj", "v_proj", "o_proj"]
ATTENTION_MLA = ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]
# Between them these change every kind of matrix: (model, adapter, config). A text has 24 tokens.
ADAPTERS = {
    "qwen2-moe": {
        "attention": dict(r=4, lora_alpha=8, target_modules=ATTENTION_GQA),
        "ffn": dict(r=3, lora_alpha=5, use_rslora=True, target_parameters=["mlp.gate.weight"],
                    target_modules=r".*(shared_expert\.(gate|up|down)_proj|shared_expert_gate)"),
        "all": dict(r=2, lora_alpha=3, rank_pattern={"q_proj": 5, "layers.1.self_attn.o_proj": 1},
                    alpha_pattern={"v_proj": 7}, target_parameters=["mlp.gate.weight"],
                    target_modules=r".*(self_attn\.(q|v|o)_proj|shared_expert\.(up|down)_proj)"),
    },
    "qwen3-moe": {
        "experts": dict(r=2, lora_alpha=3, target_modules=["q_proj"],
                        target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]),
        "down": dict(r=3, lora_alpha=5, target_parameters=["mlp.experts.down_proj"], target_modules=[],
                     rank_pattern={r".*\.down_proj": 2}),
        "attention": dict(r=2, lora_alpha=3, target_modules=["v_proj"]),
    },
    "deepseek-v3": {
        "attention": dict(r=4, lora_alpha=8, target_modules=ATTENTION_MLA),
        "ffn": dict(r=3, lora_alpha=5, use_rslora=True, target_parameters=["mlp.gate.weight"],
                    target_modules=r".*(mlp|shared_experts)\.(gate|up|down)_proj"),
        "all": dict(r=2, lora_alpha=3, rank_pattern={"kv_b_proj": 5}, target_modules=r".*(q_b_proj|kv_b_proj|mlp\.down_proj)"),
    },
}
TOKENS = 24
# Least distance between the last expert that is chosen and the next.
CLEAR = 0.004
NOISE = 0.15


def base(name):
    model = AutoModelForCausalLM.from_pretrained(FAMILIES / name, dtype=torch.float32, attn_implementation="eager",
                                                 experts_implementation="eager")
    return model.eval()


def margin(seen, k):
    logits, by = seen
    best = by.topk(k + 1, -1).values
    return (best[:, k - 1] - best[:, k]).min().item()


def run(model, ids):
    """-> logits [tokens, vocab], and the least margin of a choice of experts."""
    margins = []

    def look(router, inputs, output):
        logits, by, _, _ = routing(router, inputs, output)
        margins.append(margin((logits, by), router.top_k))

    hooks = [router.register_forward_hook(look) for router in routers(model)]
    with torch.no_grad():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    for hook in hooks:
        hook.remove()
    return logits, min(margins)


def write_adapter(name, adapter, config, where):
    torch.manual_seed(sum(map(ord, name + adapter)))
    model = get_peft_model(base(name), LoraConfig(task_type="CAUSAL_LM", **config))
    for key, value in model.named_parameters():
        if "lora_" in key:
            torch.nn.init.normal_(value, std=NOISE)
    model.save_pretrained(where)
    (where / "README.md").unlink(missing_ok=True)
    (where / "adapter_model.safetensors").chmod(0o644)
    written = json.loads((where / "adapter_config.json").read_text())
    written["base_model_name_or_path"] = name
    for key in ("target_modules", "target_parameters"):
        if isinstance(written[key], list):
            written[key].sort()
    (where / "adapter_config.json").write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")


def main(out):
    for name, adapters in ADAPTERS.items():
        folder = out / name
        shutil.rmtree(folder, ignore_errors=True)
        for adapter, config in adapters.items():
            write_adapter(name, adapter, config, folder / adapter)
        models = {None: base(name)}
        for adapter in adapters:
            models[adapter] = PeftModel.from_pretrained(base(name), folder / adapter).eval()
        vocab = models[None].config.vocab_size
        for seed in range(4096):
            ids = torch.randint(2, vocab - 4, (TOKENS,), generator=torch.Generator().manual_seed(seed)).tolist()
            results = {adapter: run(model, ids) for adapter, model in models.items()}
            least = min(each for _, each in results.values())
            if least >= CLEAR:
                break
        else:
            raise SystemExit(f"{name}: no text with clear choices")
        tensors = {"ids": torch.tensor(ids, dtype=torch.float32)}
        for adapter in adapters:
            tensors[adapter] = results[adapter][0].contiguous()
            merged = models[adapter].merge_and_unload()
            tensors[f"{adapter}.merged"] = run(merged, ids)[0].contiguous()
            changed = (tensors[adapter] - results[None][0]).norm() / results[None][0].norm()
            print(name, adapter, "seed", seed, "margin", round(least, 4), "changes by", round(changed.item(), 3))
        save_file(tensors, folder / "reference.safetensors")


main(Path(sys.argv[1]))
