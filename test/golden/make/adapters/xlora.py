"""Writes the fixtures of test/golden/fixtures/xlora; README.md says what is in them."""
import json
import shutil
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, XLoraConfig, get_peft_model
from peft.utils import transformers_weight_conversion
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

sys.path.append(str(Path(__file__).parent.parent / "families"))
from reference import routers, routing  # noqa: E402

# It takes `gate_proj` of a dense layer or a shared expert for that of the routed experts too.
transformers_weight_conversion.convert_peft_config_for_transformers = lambda *_, **__: None
torch.set_num_threads(1)

FAMILIES = Path(__file__).parents[2] / "fixtures" / "families"
MLA = r".*(q_a_proj|q_b_proj|kv_a_proj_with_mqa|o_proj)"
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
QWEN2 = [
    dict(r=2, lora_alpha=5, target_modules=["q_proj", "o_proj"]),
    dict(r=3, lora_alpha=4, use_rslora=True, target_modules=["q_proj", "v_proj"]),
    dict(r=1, lora_alpha=2, target_modules=["k_proj", "v_proj", "o_proj"]),
]
# (model, mixture): its adapters, and its config.
MIXTURES = {
    "qwen2-moe": {
        "soft": (QWEN2, dict(xlora_depth=1, softmax_temperature=0.7)),
        "sparse": (QWEN2, dict(xlora_depth=3, xlora_size=12, layerwise_scalings=True, enable_softmax=False, top_k_lora=2,
                               global_scaling_weight=1.5)),
        "renormalised": (QWEN2, dict(xlora_depth=2, xlora_size=7, enable_softmax=False, top_k_lora=2,
                                     enable_softmax_topk=True)),
    },
    "deepseek-v3": {
        "layers": ([
            dict(r=2, lora_alpha=3, target_modules=MLA),
            dict(r=1, lora_alpha=2, target_modules=r".*(q_a_proj|(mlp|shared_experts)\.(gate|up|down)_proj)"),
        ], dict(xlora_depth=2, xlora_size=9, layerwise_scalings=True, scaling_pass_value=0.3)),
    },
    # PEFT computes no X-LoRA of routed experts: see `mix_experts`.
    "qwen3-moe": {
        "experts": ([
            dict(r=2, lora_alpha=3, target_modules=["q_proj"], target_parameters=EXPERTS),
            dict(r=1, lora_alpha=2, target_modules=["q_proj"], target_parameters=EXPERTS),
        ], dict(xlora_depth=1)),
    },
}
TOKENS = 20
# Least distance between the last expert, or adapter, that is chosen and the next.
CLEAR = 0.004
NOISE = 0.15
BUILT_IN = "xlora_classifier.safetensors"


def base(name):
    model = AutoModelForCausalLM.from_pretrained(FAMILIES / name, dtype=torch.float32, attn_implementation="eager",
                                                 experts_implementation="eager")
    model.config.use_cache = False
    return model.eval()


def sorted_json(config, where):
    for key in ("target_modules", "target_parameters"):
        if isinstance(config.get(key), list):
            config[key].sort()
    where.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def write_adapter(name, config, seed, where):
    torch.manual_seed(seed)
    model = get_peft_model(base(name), LoraConfig(task_type="CAUSAL_LM", **config))
    for key, value in model.named_parameters():
        if "lora_" in key:
            torch.nn.init.normal_(value, std=NOISE)
    model.save_pretrained(where)
    (where / "README.md").unlink(missing_ok=True)
    (where / "adapter_model.safetensors").chmod(0o644)
    written = json.loads((where / "adapter_config.json").read_text())
    sorted_json({**written, "base_model_name_or_path": name}, where / "adapter_config.json")


def margin(by, k):
    best = by.topk(k + 1, -1).values
    return (best[..., k - 1] - best[..., k]).min().item()


def watched(model, call):
    """-> what `call` returns, and the least margin of a choice of experts."""
    margins = []

    def look(router, inputs, output):
        margins.append(margin(routing(router, inputs, output)[1], router.top_k))

    hooks = [router.register_forward_hook(look) for router in routers(model)]
    with torch.no_grad():
        result = call()
    for hook in hooks:
        hook.remove()
    return result, min(margins)


class Mixture:
    """PEFT's own model of a mixture."""

    def __init__(self, name, adapters, options, seed):
        model = base(name)
        size = model.config.hidden_size
        self.config = XLoraConfig(task_type="CAUSAL_LM", hidden_size=size, adapters=adapters, **options)
        self.model = get_peft_model(model, self.config).eval()
        self.classifier = self.model.base_model.internal_xlora_classifier
        spread(self.classifier, seed)

    def run(self, ids):
        """-> logits [tokens, vocab]; scalings [tokens, layers, adapters] as they are applied; the least margin."""
        logits, least = watched(self.model, lambda: self.model(torch.tensor([ids])).logits[0])
        scalings = self.model.base_model.internal_xlora_scalings.detach()
        layers = [module.forward.__self__ for module in self.model.modules() if hasattr(module, "lora_A")]
        assert [layer.layer_number for layer in layers] == list(range(scalings.shape[2]))
        k = self.config.top_k_lora
        if k is not None:
            least = min(least, margin(scalings, k))
        applied = torch.stack([layer.get_maybe_topk_scalings(scalings)[0] for layer in layers], 1)
        return logits, applied * self.config.global_scaling_weight, least


def spread(classifier, seed):
    """Makes a random classifier whose scalings differ from token to token."""
    torch.manual_seed(seed)
    for key, value in classifier.named_parameters():
        torch.nn.init.normal_(value, std=0.3 if "weight" in key else 0.5)


class ExpertMixture:
    """
    The same of a mixture whose adapters change routed experts too, on the plain model: y += Σ_i s_i ΔW_i x. PEFT's X-LoRA knows
    `nn.Linear` alone; with scalings that are the same for all tokens, this is compared with PEFT's sum of adapters.
    """

    def __init__(self, name, adapters, options, seed):
        self.config = XLoraConfig(task_type="CAUSAL_LM", hidden_size=base(name).config.hidden_size, adapters=adapters, **options)
        self.classifier = torch.nn.Sequential(torch.nn.Linear(self.config.hidden_size, len(adapters)))
        spread(self.classifier, seed)
        self.lora = PeftModel.from_pretrained(base(name), adapters["0"], adapter_name="0")
        for key, where in list(adapters.items())[1:]:
            self.lora.load_adapter(where, key)
        self.lora.eval()
        self.model = base(name)
        self.scalings = None
        wrapped = dict(self.lora.base_model.model.named_modules())
        for path, module in list(self.model.named_modules()):
            if path.endswith("q_proj"):
                module.register_forward_hook(self.add_to(wrapped[path], list(adapters)))
            if path.endswith("mlp.experts"):
                module.forward = self.experts(module, wrapped[path], list(adapters))

    def add_to(self, wrapped, keys):
        deltas = [wrapped.get_delta_weight(key).detach() for key in keys]

        def add(_, inputs, output):
            if self.scalings is None:
                return output
            return output + sum(s.unsqueeze(-1) * F.linear(inputs[0], delta) for s, delta in zip(self.scalings.T, deltas))

        return add

    def experts(self, module, wrapped, keys):
        deltas = {}
        while hasattr(wrapped, "parameter_name"):
            deltas[wrapped.parameter_name] = [wrapped.get_delta_weight(key).detach() for key in keys]
            wrapped = wrapped.base_layer

        def linear(name, x, expert, rows):
            y = F.linear(x, getattr(module, name)[expert])
            if self.scalings is None:
                return y
            return y + sum(s[rows].unsqueeze(-1) * F.linear(x, delta[expert])
                           for s, delta in zip(self.scalings.T, deltas[name]))

        def forward(hidden, indices, weights):
            out = torch.zeros_like(hidden)
            for expert in range(module.num_experts):
                rows, place = torch.where(indices == expert)
                if len(rows) == 0:
                    continue
                gate, up = linear("gate_up_proj", hidden[rows], expert, rows).chunk(2, -1)
                y = linear("down_proj", F.silu(gate) * up, expert, rows)
                out.index_add_(0, rows, y * weights[rows, place, None])
            return out

        return forward

    def forward(self, ids, scalings):
        self.scalings = scalings
        return self.model(torch.tensor([ids]), output_hidden_states=True)

    def run(self, ids):
        def call():
            hidden = self.forward(ids, None).hidden_states[-1][0]
            scalings = self.classifier(hidden).softmax(-1)
            return self.forward(ids, scalings).logits[0], scalings

        (logits, scalings), least = watched(self.model, call)
        self.check(ids)
        return logits, scalings[:, None], least

    def check(self, ids):
        """Constant scalings: PEFT with all adapters at once, each with its scale multiplied."""
        factors = torch.tensor([0.7, 0.4])
        with torch.no_grad():
            own = self.forward(ids, factors.expand(len(ids), 2)).logits[0]
            self.lora.base_model.set_adapter(["0", "1"])
            changed = [module for module in self.lora.modules() if hasattr(module, "scaling") and hasattr(module, "lora_A")]
            for module in changed:
                for key, factor in zip("01", factors.tolist()):
                    module.scaling[key] *= factor
            theirs = self.lora(torch.tensor([ids])).logits[0]
            for module in changed:
                for key, factor in zip("01", factors.tolist()):
                    module.scaling[key] /= factor
        distance = ((own - theirs).norm() / theirs.norm()).item() ** 2
        assert distance < 1e-10, distance


def write_mixture(name, mixture, config, classifier, where):
    written = config.to_dict()
    written.update(base_model_name_or_path=name, adapters={key: f"./{key}" for key in config.adapters})
    written = {key: sorted(value) if isinstance(value, set) else value for key, value in written.items()}
    sorted_json(written, where / "adapter_config.json")
    tensors = {key.removeprefix("layers."): value.detach().contiguous() for key, value in classifier.state_dict().items()}
    if mixture == "soft":
        # As PEFT names them.
        names = {key: f"base_model.model.internal_xlora_classifier.layers.{key}" for key in tensors}
        save_file({names[key]: value for key, value in tensors.items()}, where / "adapter_model.safetensors")
    else:
        save_file({f"layers.{key}": value for key, value in tensors.items()}, where / BUILT_IN)


def write_model(name, mixtures, out):
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    models = {}
    for number, (mixture, (adapters, options)) in enumerate(mixtures.items()):
        where = folder / mixture
        paths = {str(i): str(where / str(i)) for i in range(len(adapters))}
        for i, config in enumerate(adapters):
            write_adapter(name, config, 100 * number + i, where / str(i))
        kind = ExpertMixture if "target_parameters" in adapters[0] else Mixture
        models[mixture] = kind(name, paths, options, 1000 + number)
        write_mixture(name, mixture, models[mixture].config, models[mixture].classifier, where)
    vocab = base(name).config.vocab_size
    for seed in range(4096):
        ids = torch.randint(2, vocab - 4, (TOKENS,), generator=torch.Generator().manual_seed(seed)).tolist()
        results = {mixture: model.run(ids) for mixture, model in models.items()}
        least = min(each for _, _, each in results.values())
        if least >= CLEAR:
            break
    else:
        raise SystemExit(f"{name}: no text with clear choices")
    plain = base(name)(torch.tensor([ids])).logits[0].detach()
    tensors = {"ids": torch.tensor(ids, dtype=torch.float32)}
    for mixture, (logits, scalings, _) in results.items():
        tensors[mixture] = logits.detach().contiguous()
        layers = scalings if models[mixture].config.layerwise_scalings else scalings[:, :1]
        tensors[f"{mixture}.scalings"] = layers.detach().contiguous()
        changed = ((logits - plain).norm() / plain.norm()).item()
        print(name, mixture, "seed", seed, "margin", round(least, 4), "changes by", round(changed, 3),
              "scalings", list(layers.shape), "spread", round(layers.std(0).mean().item(), 3))
    save_file(tensors, folder / "reference.safetensors")


for name, mixtures in MIXTURES.items():
    write_model(name, mixtures, Path(sys.argv[1]))
