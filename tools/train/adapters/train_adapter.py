"""Train a LoRA adapter of the default model for one style, and write it as PEFT saves it, with a card.

usage: train_adapter.py MODEL_DIR STYLE OUT_DIR STEPS

The base model's weights stay as they are. What is added is computed as PEFT computes it: y += (alpha / r) B A x (Hu et al. 2021), for
attention, dense and shared FFNs, and the routed experts of one layer, whose gate and up projections share A as in PEFT's
`target_parameters`.
"""
import json, math, os, random, sys, time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize
from checkpoint import load_model
from encode_texts import encoded, tokenizer_of
from export import write_safetensors
from model import Precision
from storygen import write_story
from styles import STYLES, texts

RANK, ALPHA = 4, 8
# Of the routed experts, those of one layer: adapters of all five would be four times as large.
EXPERT_LAYER = 3
TEXTS, HELD_OUT, SEED = 3000, 100, 1
BATCH, LR, WARMUP = 16, 5e-3, 20
MODEL_NAME = "tiny-stories"
# Matrices of a layer by the training model's name -> the module's name in transformers.
DENSE = {f"self_attn.{n}": f"self_attn.{n}" for n in ("q_b_proj", "kv_b_proj", "o_proj")}
DENSE |= {f"mlp.{n}": f"mlp.{n}" for n in ("gate_proj", "up_proj", "down_proj")}
DENSE |= {f"mlp.shared.{n}": f"mlp.shared_experts.{n}" for n in ("gate_proj", "up_proj", "down_proj")}


class Added(nn.Module):
    """W -> W + (alpha / r) B A, for one matrix [out, in] or a stack of them [E, out, in]."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = a, b

    def forward(self, w):
        return w + (ALPHA / RANK) * (self.b @ self.a)


def new_pair(*shape):
    """A [.., r, in] random and B [.., out, r] zero, as PEFT begins."""
    *stack, out, inputs = shape
    a = torch.empty(*stack, RANK, inputs)
    nn.init.uniform_(a, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs))
    return nn.Parameter(a), nn.Parameter(torch.zeros(*stack, out, RANK))


def find(module, path):
    for name in path.split("."):
        module = getattr(module, name, None)
    return module


def add_adapter(model):
    """Adds the pairs; name of the module in PEFT's file -> (A, B)."""
    pairs = {}
    for i, layer in enumerate(model.layers):
        prefix = f"base_model.model.model.layers.{i}"
        for path, name in DENSE.items():
            owner, leaf = path.rsplit(".", 1)
            owner = find(layer, owner)
            weight = getattr(owner, leaf, None)
            if weight is None or weight.ndim != 2:
                continue
            a, b = pairs[f"{prefix}.{name}"] = new_pair(*weight.shape)
            parametrize.register_parametrization(owner, leaf, Added(a, b))
    moe = model.layers[EXPERT_LAYER].mlp
    prefix, (e, f, d) = f"base_model.model.model.layers.{EXPERT_LAYER}.mlp.experts", moe.gate_proj.shape
    down, both = new_pair(e, d, f), new_pair(e, 2 * f, d)
    # PEFT wraps one parameter inside the other.
    pairs[f"{prefix}.base_layer"], pairs[prefix] = both, down
    parametrize.register_parametrization(moe, "down_proj", Added(*down))
    parametrize.register_parametrization(moe, "gate_proj", Half(both, 0, f))
    parametrize.register_parametrization(moe, "up_proj", Half(both, f, f))
    return pairs


class Half(nn.Module):
    """The gate's or up's part of a pair that both share."""

    def __init__(self, pair, first, rows):
        super().__init__()
        self.pair, self.first, self.rows = pair, first, rows

    def forward(self, w):
        a, b = self.pair
        return w + (ALPHA / RANK) * (b[:, self.first:self.first + self.rows] @ a)


def stored(name, pair):
    """(tensor's name, value) as PEFT has them; stacks as A [E r, in] and B [out, r E] with the experts of a rank together."""
    a, b = (t.detach() for t in pair)
    if a.ndim == 3:
        a, b = a.flatten(0, 1), b.permute(1, 2, 0).flatten(1)
    yield f"{name}.lora_A.weight", a
    yield f"{name}.lora_B.weight", b


def batch_of(documents):
    longest = max(map(len, documents))
    ids = torch.tensor([d + [0] * (longest - len(d)) for d in documents])
    counted = torch.tensor([[1] * (len(d) - 1) + [0] * (longest - len(d)) for d in documents]).bool()
    return ids, counted


def loss_of(model, documents):
    ids, counted = batch_of(documents)
    logits = model(ids[:, :-1]).float()
    return F.cross_entropy(logits[counted], ids[:, 1:][counted])


@torch.no_grad()
def held_out_loss(model, documents):
    """Mean over tokens, in float32."""
    model.eval()
    Precision.matmul = torch.float32
    total = count = 0
    for i in range(0, len(documents), BATCH):
        tokens = sum(len(d) - 1 for d in documents[i:i + BATCH])
        total, count = total + loss_of(model, documents[i:i + BATCH]).item() * tokens, count + tokens
    model.train()
    Precision.matmul = torch.bfloat16
    return total / count


def train(model, pairs, documents, steps):
    parameters = [t for pair in pairs.values() for t in pair]
    adam = torch.optim.AdamW(parameters, lr=LR, betas=(0.9, 0.95), weight_decay=0.0)
    rng, start = random.Random(SEED), time.time()
    for step in range(steps):
        rate = LR * min(1, (step + 1) / WARMUP) * max(0.02, 1 - step / steps)
        for group in adam.param_groups:
            group["lr"] = rate
        loss = loss_of(model, rng.sample(documents, BATCH))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)
        if (step + 1) % 20 == 0:
            print(f"step {step + 1} loss {loss.item():.3f} {time.time() - start:.0f} s", flush=True)
    return time.time() - start


def adapter_config():
    names = sorted({name.rsplit(".", 1)[1] for name in DENSE.values()})
    return dict(peft_type="LORA", task_type="CAUSAL_LM", base_model_name_or_path=MODEL_NAME, r=RANK, lora_alpha=ALPHA, lora_dropout=0.0,
                bias="none", inference_mode=True, target_modules=names,
                target_parameters=[f"model.layers.{EXPERT_LAYER}.mlp.experts.{n}" for n in ("down_proj", "gate_up_proj")])


def main(folder, style, out, steps):
    # The same sums on every machine, and the other cores are free.
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    tokenizer = tokenizer_of(folder)
    documents = encoded(tokenizer, texts(style, TEXTS, SEED))
    held = encoded(tokenizer, texts(style, HELD_OUT, "held out"))
    rng = random.Random("held out")
    stories = encoded(tokenizer, [write_story(rng) for _ in range(HELD_OUT)])
    model = load_model(folder)
    model.requires_grad_(False)
    figures = dict(base=held_out_loss(model, held), stories_base=held_out_loss(model, stories))
    pairs = add_adapter(model)
    figures |= dict(seconds=train(model.train(), pairs, documents, int(steps)))
    with torch.no_grad():
        for pair in pairs.values():
            for t in pair:
                t.copy_(t.to(torch.bfloat16))
    figures |= dict(adapter=held_out_loss(model, held), stories_adapter=held_out_loss(model, stories))
    figures |= dict(parameters=sum(t.numel() for pair in pairs.values() for t in pair), tokens=sum(map(len, documents)))
    os.makedirs(out, exist_ok=True)
    write_safetensors(f"{out}/adapter_model.safetensors", sorted(each for item in pairs.items() for each in stored(*item)))
    with open(f"{out}/adapter_config.json", "w") as file:
        file.write(json.dumps(adapter_config(), indent=2) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
