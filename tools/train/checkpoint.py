"""Read a DeepSeek-V3-style Hugging Face directory into the training model, and write one with its MTP module replaced."""
import json, os, shutil, struct
import torch
from export import tensors
from model import Model

DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


def config_of(folder):
    """The folder's config, or an error that names what the training model can't compute."""
    c = json.load(open(f"{folder}/config.json"))
    fixed = dict(scoring_func="sigmoid", topk_method="noaux_tc", norm_topk_prob=True, rope_scaling=None, attention_bias=False,
                 num_nextn_predict_layers=1, moe_layer_freq=1, hidden_act="silu", quantization_config=None)
    for key, value in fixed.items():
        if c.get(key, value) != value:
            raise SystemExit(f"{folder}/config.json: {key} is {c[key]!r}; this script knows {value!r} only")
    if not c.get("q_lora_rank"):
        raise SystemExit(f"{folder}/config.json: q_lora_rank is missing; queries without a low rank are not known to this script")
    return c


def read_files(folder):
    """File name -> (header, data) of every safetensors file of the folder, mapped into memory."""
    names = sorted(n for n in os.listdir(folder) if n.endswith(".safetensors"))
    files = {}
    for name in names:
        with open(f"{folder}/{name}", "rb") as f:
            size = struct.unpack("<Q", f.read(8))[0]
            header = json.loads(f.read(size))
        files[name] = header, 8 + size, torch.from_file(f"{folder}/{name}", size=os.path.getsize(f"{folder}/{name}"), dtype=torch.uint8)
    return files


def read_tensors(folder):
    """Name -> tensor in the file's own type."""
    out = {}
    for header, start, data in read_files(folder).values():
        for name, m in header.items():
            if name != "__metadata__":
                a, b = m["data_offsets"]
                if m["dtype"] not in DTYPES:
                    raise SystemExit(f"{folder}: {name} is {m['dtype']}; convert the checkpoint to bf16 first")
                out[name] = data[start + a:start + b].clone().view(DTYPES[m["dtype"]]).view(m["shape"])
    return out


def load_model(folder):
    """The training model with the folder's weights, in fp32."""
    c = config_of(folder)
    model, stored = Model(c), read_tensors(folder)
    with torch.no_grad():
        for name, view in tensors(model.state_dict(), c):
            if name not in stored:
                raise SystemExit(f"{folder}: tensor {name} is missing")
            if tuple(view.shape) != tuple(stored[name].shape):
                raise SystemExit(f"{folder}: {name} has shape {tuple(stored[name].shape)} instead of {tuple(view.shape)}")
            view.copy_(stored[name])
        # These two names come last and are copies: what was just loaded must be what the main model has too.
        for main, copy in (("model.embed_tokens", "embed_tokens"), ("lm_head", "shared_head.head")):
            if not torch.equal(stored[f"{main}.weight"], stored[f"model.layers.{c['num_hidden_layers']}.{copy}.weight"]):
                raise SystemExit(f"{folder}: the MTP module's {copy} is not the main model's; this script shares them, as DeepSeek-V3 does")
    return model.eval()


def write_with_module(folder, out, model):
    """Copy the folder to `out` with the model's MTP module. Every other byte of it stays as it is."""
    c = config_of(folder)
    prefix = f"model.layers.{c['num_hidden_layers']}."
    module = {n: t for n, t in tensors(model.state_dict(), c)
              if n.startswith(prefix) and not n.endswith(("embed_tokens.weight", "shared_head.head.weight"))}
    os.makedirs(out, exist_ok=True)
    for name in sorted(os.listdir(folder)):
        if os.path.isfile(f"{folder}/{name}") and os.path.abspath(out) != os.path.abspath(folder):
            shutil.copy(f"{folder}/{name}", f"{out}/{name}")
    left = set(module)
    for file, (header, start, data) in read_files(folder).items():
        data = data.clone()
        for name in left & set(header):
            a, b = header[name]["data_offsets"]
            data[start + a:start + b] = module[name].to(DTYPES[header[name]["dtype"]]).contiguous().view(torch.uint8).flatten()
        left -= set(header)
        with open(f"{out}/{file}.part", "wb") as f:
            f.write(data.numpy().tobytes())
        os.replace(f"{out}/{file}.part", f"{out}/{file}")
    assert not left, left


def round_module(model):
    """Round the MTP module's weights to bf16, as they are stored."""
    with torch.no_grad():
        for name, t in model.mtp.state_dict().items():
            if not name.endswith(("mlp.bias", "mlp.load")):
                t.copy_(t.to(torch.bfloat16))
    return model
