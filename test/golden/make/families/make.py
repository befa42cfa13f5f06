"""Random checkpoints of every family, and what the reference implementation computes with them.

usage: make.py OUT_DIR [NAME …]
Writes OUT_DIR/NAME/: a model directory as transformers saves it, reference.json (ids, text, versions, departures) and
reference.safetensors (logits at every position; experts and weights of every MoE layer, if there are any). See README.md.
"""
import json, math, os, shutil, sys, tempfile

import tokenizers, torch, transformers
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import mxfp4
from configs import FIXTURES
from fp8 import is_quantised, quantise
from mtp import new_mtp, mtp_logits, mtp_tensors
from reference import chosen_experts, clear_sequences, greedy_margins, margins_by_row, patch_published
from tokenizer import tokens_of, write_tokenizer

SEQUENCE_LENGTHS = [96, 105, 112]
SMALL_LENGTHS = [96, 97, 99]
PROMPT_TOKENS, ANSWER_TOKENS, PROMPTS_KEPT = 8, 16, 3
PROMPT_CANDIDATES = 1024
TEXTS = ["the rain in the tin can ran and ran", "an ant and then\nthe hen", "There is a pin (and a tan hat) in 3 bags!"]


TRANSPOSED = ("gpt_oss", "llama4_text")


def randomise(model, fixture, generator):
    """Weights that keep activations of order 1, so that attention, gate and head all matter; exact in bfloat16."""
    def normal(tensor, std):
        return torch.randn(tensor.shape, generator=generator) * std

    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("e_score_correction_bias"):
                # All below -1 where negative scores are wanted: a gate that masks with 0 would choose other experts.
                tensor.copy_(normal(tensor, fixture.score_bias_std) - (1.8 if fixture.negative_bias else 0))
                continue
            transposed = ".experts." in name and fixture.config.model_type in TRANSPOSED
            fan_in = tensor.shape[-2 if transposed and tensor.dim() == 3 else -1]
            if name.endswith("bias"):
                value = normal(tensor, 0.5)
            elif name.endswith("sinks"):
                value = normal(tensor, 1) + 1
            elif name.endswith("gate_up_proj"):
                value = normal(tensor, fixture.gate_up_std / math.sqrt(fan_in))
            elif "norm" in name:
                value = 1 + normal(tensor, 0.2)
            elif "embed_tokens" in name:
                value = normal(tensor, fixture.embed_std)
            elif "lm_head" in name:
                value = normal(tensor, 3 / math.sqrt(fan_in))
            elif name.endswith("o_proj.weight"):
                # An average over many positions is small: without this a token would nearly decide the next by itself.
                value = normal(tensor, 4 / math.sqrt(fan_in))
            elif name.endswith(("gate.weight", "router.weight", "gate.wg.weight")):
                value = normal(tensor, 1.5 / math.sqrt(fan_in))
            else:
                value = normal(tensor, 1.3 / math.sqrt(fan_in))
            tensor.copy_(value.to(torch.bfloat16).float())


def saved_tensors(model):
    """Names and tensors as transformers saves them: one per expert, whatever they are in memory."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        with safe_open(f"{folder}/model.safetensors", "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        return tensors, json.load(open(f"{folder}/config.json"))


def write_weights(folder, tensors, shards):
    if shards == 1:
        save_file(tensors, f"{folder}/model.safetensors", {"format": "pt"})
        return
    names, weight_map, size = sorted(tensors), {}, -(-len(tensors) // shards)
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = names[shard * size:(shard + 1) * size]
        save_file({name: tensors[name] for name in part}, f"{folder}/{file}", {"format": "pt"})
        weight_map |= {name: file for name in part}
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    json.dump(index, open(f"{folder}/model.safetensors.index.json", "w"), indent=1)


def write_model(folder, model, mtp, fixture):
    """Write the model directory; returns the reference model, read back from it."""
    tensors, config = saved_tensors(model)
    stored, meant = {}, {}
    for name, tensor in tensors.items():
        if fixture.fp8 and is_quantised(name, tensor):
            stored[name], stored[f"{name}_scale_inv"], meant[name] = quantise(tensor)
        elif fixture.mxfp4 and mxfp4.is_quantised(name):
            stored[f"{name}_blocks"], stored[f"{name}_scales"], meant[name] = mxfp4.quantise(tensor)
        else:
            stored[name] = tensor if name.endswith("e_score_correction_bias") else tensor.to(torch.bfloat16)
            meant[name] = stored[name].float()
    config |= fixture.extra | {"dtype": "bfloat16"}
    plain = dict(config)
    if fixture.fp8:
        config["quantization_config"] = {
            "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}
    if fixture.mxfp4:
        config["quantization_config"] = {"modules_to_not_convert": ["lm_head"], "quant_method": "mxfp4"}
    if mtp:
        stored |= {name: tensor.to(torch.bfloat16) for name, tensor in mtp_tensors(mtp, config["num_hidden_layers"]).items()}
    published, written = fixture.publish(stored, config) if fixture.publish else (stored, config)
    write_weights(folder, published, fixture.shards)
    json.dump(written, open(f"{folder}/config.json", "w"), indent=1)
    if fixture.generation:
        json.dump(fixture.generation, open(f"{folder}/generation_config.json", "w"), indent=1)
    write_tokenizer(folder, fixture.tokenizer, template_in_file=fixture.generation is not None, small=fixture.small)
    # FP8 kernels want a GPU, and other names want other programs: the reference reads the weights that are meant.
    with tempfile.TemporaryDirectory() as unpacked:
        save_file(meant, f"{unpacked}/model.safetensors", {"format": "pt"})
        json.dump(plain, open(f"{unpacked}/config.json", "w"))
        return AutoModelForCausalLM.from_pretrained(
            unpacked, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager"
        ).eval()


def make(fixture, out):
    folder = os.path.join(out, fixture.name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    # A stable seed of the fixture's own, so that adding one changes no other.
    generator = torch.Generator().manual_seed(sum(ord(c) * 31 ** (i % 5) for i, c in enumerate(fixture.name)))
    model = AutoModelForCausalLM.from_config(fixture.config, attn_implementation="eager", experts_implementation="eager").float()
    randomise(model, fixture, generator)
    model.tie_weights()
    mtp = None
    if fixture.mtp:
        mtp = new_mtp(model)
        randomise(mtp.layers[0], fixture, generator)
    model = write_model(folder, model, mtp, fixture)
    departures = patch_published(model)
    num_tokens = len(tokens_of(fixture.small))
    lengths = SMALL_LENGTHS if fixture.small else SEQUENCE_LENGTHS
    with torch.no_grad():
        sequences = clear_sequences(model, generator, lengths, num_tokens)
        gate_margin = min(margins_by_row(model, ids[None]).min().item() for ids in sequences)
        parts = [chosen_experts(model, ids[None]) for ids in sequences]
        reference = {key: torch.cat([part[key] for part in parts], 0 if key == "logits" else 1) for key in parts[0]}
        if mtp:
            reference["mtp_logits"] = mtp_logits(model, mtp, sequences[0])
        greedy = greedy_margins(model, generator, num_tokens, PROMPT_CANDIDATES, PROMPT_TOKENS, ANSWER_TOKENS, PROMPTS_KEPT, eos={1, 3})
        text = perplexity(model, folder, fixture)
    if fixture.small and "experts" in reference:
        # Exact: there are fewer than 256 experts.
        reference["experts"] = reference["experts"].to(torch.bfloat16)
    values = {key: value.contiguous() if value.dtype == torch.bfloat16 else value.contiguous().float() for key, value in reference.items()}
    save_file(values, f"{folder}/reference.safetensors")
    about = {
        "about": fixture.about,
        "made_by": {"transformers": transformers.__version__, "torch": torch.__version__},
        "departures": departures,
        "sequences": [ids.tolist() for ids in sequences],
        "gate_margin": gate_margin,
        "greedy": greedy,
        "perplexity": text,
    }
    json.dump(about, open(f"{folder}/reference.json", "w"))
    size = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))
    print(f"{fixture.name}: {size / 1024:.0f} KiB, logits std {reference['logits'].std():.2f}, gate margin {gate_margin:.4f}, "
          f"margins {[(round(g['logit_margin'], 3), round(g['gate_margin'], 4)) for g in greedy]}")


def perplexity(model, folder, fixture):
    """Each text as <bos> text <eos>, all tokens but <bos> predicted; without a <bos> all but the first."""
    tokenizer = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
    bos = fixture.config.bos_token_id
    nll, tokens = 0.0, 0
    for text in TEXTS:
        ids = ([] if bos is None else [bos]) + tokenizer.encode(text).ids + [1]
        log_p = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        nll -= sum(log_p[i, id].item() for i, id in enumerate(ids[1:]))
        tokens += len(ids) - 1
    return {"text": "<|end|>".join(TEXTS), "tokens": tokens, "nll": nll}


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.disable_progress_bar()
    for fixture in FIXTURES:
        if len(sys.argv) == 2 or fixture.name in sys.argv[2:]:
            make(fixture, sys.argv[1])
