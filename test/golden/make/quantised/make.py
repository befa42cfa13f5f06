"""Writes test/golden/fixtures/quantised: see README.md. Arguments: the folder of unpacked sources, the target folder."""
import importlib.util
import json
import os
import sys

import torch
from compressed_tensors.compressors.naive_quantized.base import NaiveQuantizationCompressor
from compressed_tensors.compressors.nvfp4.base import NVFP4PackedCompressor
from compressed_tensors.compressors.mxfp4.base import MXFP4PackedCompressor
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import dequantize
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from modelopt.torch.quantization.qtensor.nvfp4_tensor import NVFP4QTensor
from safetensors.torch import save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

SOURCES, TARGET = sys.argv[1:3]
torch.set_num_threads(1)
stored, expected, cases = {}, {}, {}


def load(path):
    spec = importlib.util.spec_from_file_location(os.path.basename(path).replace(".", "_"), os.path.join(SOURCES, path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def case(name, config, tensors, weight, **place):
    """`tensors` by what follows the case's name; `weight` [rows, cols] in float32, or a stack of them."""
    for suffix, tensor in tensors.items():
        stored[f"{name}.{suffix}"] = tensor.contiguous()
    expected[name] = weight.float().contiguous()
    cases[name] = {"shape": list(weight.shape), "quantization_config": config, **place}


def weights(name, rows, cols):
    """Of the size of a model's weights, with an outlier, and a group of zeros."""
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    values = torch.randn(rows, cols, generator=generator) * 0.05
    values[1, 3] = 0.9
    values[2, :32] = 0
    return values


# ---- FP8 as DeepSeek and transformers store it

def fp8_blocks(name, rows, cols, block, scale_dtype, **config):
    weight = weights(name, rows, cols)
    scales = torch.empty(-(-rows // block[0]), -(-cols // block[1]))
    codes, meant = torch.empty(rows, cols, dtype=torch.float8_e4m3fn), torch.empty(rows, cols)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            at = (slice(i * block[0], (i + 1) * block[0]), slice(j * block[1], (j + 1) * block[1]))
            scales[i, j] = (weight[at].abs().max().clamp(min=1e-4) / 448).to(scale_dtype).float()
            if scale_dtype == torch.float8_e8m0fnu:
                scales[i, j] *= 2  # Rounded down, the largest weight would be beyond 448.
            codes[at] = (weight[at] / scales[i, j]).to(torch.float8_e4m3fn)
            meant[at] = codes[at].float() * scales[i, j]
    tensors = {"weight": codes, "weight_scale_inv": scales.to(scale_dtype)}
    case(name, {"quant_method": "fp8", "weight_block_size": list(block), **config}, tensors, meant)


fp8_blocks("fp8-blocks", 130, 200, (128, 128), torch.float32, fmt="e4m3", activation_scheme="dynamic")
fp8_blocks("fp8-blocks-bf16-scales", 48, 70, (32, 32), torch.bfloat16, fmt="float8_e4m3fn", modules_to_not_convert=["lm_head"])
fp8_blocks("fp8-blocks-ue8m0", 40, 40, (16, 32), torch.float8_e8m0fnu, scale_fmt="ue8m0")

static = weights("fp8-static", 12, 20)
factor = static.abs().max() / 448
codes = (static / factor).to(torch.float8_e4m3fn)
case("fp8-static", {"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": None},
     {"weight": codes, "weight_scale_inv": factor, "activation_scale": torch.tensor(0.1)}, codes.float() * factor)

row_factors = static.abs().amax(1, keepdim=True).clamp(min=1e-4) / 448
codes = (static / row_factors).to(torch.float8_e4m3fn)
case("fp8-fbgemm", {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0},
     {"weight": codes, "weight_scale": row_factors}, codes.float() * row_factors)


# ---- compressed-tensors

def compressed(name, compressor, format, rows, cols, scale_dtype=torch.bfloat16, **args):
    weight = weights(name, rows, cols)
    args = QuantizationArgs(**args)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    low, high = ranges(weight, args)
    scale, zero = calculate_qparams(low, high, args)
    zero = zero.to(torch.int8)
    state = {"weight": weight, "weight_scale": scale.to(scale_dtype), "weight_zero_point": zero}
    packed = compressor.compress(state, scheme)
    packed = {key: value for key, value in packed.items() if value is not None}
    if args.symmetric:
        packed.pop("weight_zero_point", None)
    # The library's result has the scale's type; with a float32 scale of the same value it is not rounded.
    wide = dict(packed)
    if wide["weight_scale"].dtype in (torch.bfloat16, torch.float16):
        wide["weight_scale"] = wide["weight_scale"].float()
    meant = decompressed(compressor, wide, scheme, args)
    groups = {"group_0": {"format": format, "targets": ["Linear"], "weights": json.loads(args.model_dump_json())}}
    config = {"quant_method": "compressed-tensors", "format": format, "config_groups": groups, "ignore": ["lm_head"],
              "quantization_status": "compressed", "kv_cache_scheme": None}
    case(name, config, packed, meant)


def decompressed(compressor, state, scheme, args):
    if compressor in (NVFP4PackedCompressor, MXFP4PackedCompressor):
        # `decompress` rounds to bfloat16 at the end; these are its steps without that.
        from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8

        rows, half = state["weight_packed"].shape
        codes = unpack_fp4_from_uint8(state["weight_packed"], rows, half * 2).float()
        scale = compressor._decompress_scale(state["weight_scale"], torch.float32)
        return dequantize(codes, scale, args=args, global_scale=state.get("weight_global_scale"), dtype=torch.float32)
    return compressor.decompress(state, scheme)["weight"]


def ranges(weight, args):
    """Least and greatest values of what shares a scale."""
    rows, cols = weight.shape
    if args.strategy == "tensor":
        return weight.min().reshape(1), weight.max().reshape(1)
    if args.strategy == "channel":
        return weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
    if args.strategy == "block":
        height, width = args.block_structure
        padded = torch.nn.functional.pad(weight, (0, -cols % width, 0, -rows % height))
        blocks = padded.reshape(padded.shape[0] // height, height, -1, width)
        return blocks.amin((1, 3)), blocks.amax((1, 3))
    groups = weight.reshape(rows, -1, args.group_size)
    return groups.amin(2), groups.amax(2)


pack, plain = PackedQuantizationCompressor, NaiveQuantizationCompressor
compressed("int4-groups-of-32", pack, "pack-quantized", 24, 96, num_bits=4, strategy="group", group_size=32)
compressed("int4-groups-of-128", pack, "pack-quantized", 12, 256, scale_dtype=torch.float16, num_bits=4, strategy="group", group_size=128)
compressed("int4-channel", pack, "pack-quantized", 10, 44, num_bits=4, strategy="channel")
compressed("int4-asymmetric", pack, "pack-quantized", 20, 64, num_bits=4, strategy="group", group_size=32, symmetric=False)
compressed("int8-packed", pack, "pack-quantized", 10, 64, num_bits=8, strategy="group", group_size=32)
compressed("int8-channel", plain, "int-quantized", 10, 40, num_bits=8, strategy="channel")
compressed("int8-asymmetric", plain, "int-quantized", 10, 40, num_bits=8, strategy="channel", symmetric=False)
compressed("int8-tensor", plain, "int-quantized", 10, 40, num_bits=8, strategy="tensor")
compressed("fp8-channel", plain, "float-quantized", 10, 40, num_bits=8, type="float", strategy="channel")
compressed("fp8-tensor", plain, "float-quantized", 10, 40, scale_dtype=torch.float32, num_bits=8, type="float", strategy="tensor")
compressed("fp8-block", plain, "float-quantized", 50, 70, num_bits=8, type="float", strategy="block", block_structure=[32, 32])
compressed("mxfp4-packed", MXFP4PackedCompressor, "mxfp4-pack-quantized", 12, 96, scale_dtype=torch.float32,
           num_bits=4, type="float", strategy="group", group_size=32)


def nvfp4_packed(name, rows, cols):
    weight = weights(name, rows, cols)
    args = QuantizationArgs(num_bits=4, type="float", strategy="tensor_group", group_size=16, scale_dtype=torch.float8_e4m3fn)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    whole = generate_gparam(weight.min(), weight.max())
    scale, _ = calculate_qparams(*ranges(weight, args), args, global_scale=whole)
    packed = NVFP4PackedCompressor.compress({"weight": weight, "weight_scale": scale, "weight_global_scale": whole}, scheme)
    packed = {key: packed[key] for key in ("weight_packed", "weight_scale", "weight_global_scale")}
    packed["input_global_scale"] = torch.tensor([3.0])
    weights_args = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16, "symmetric": True}
    group = {"targets": ["Linear"], "weights": weights_args, "input_activations": {**weights_args, "dynamic": "local"}}
    config = {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized", "config_groups": {"group_0": group}}
    case(name, config, packed, decompressed(NVFP4PackedCompressor, packed, scheme, args))


nvfp4_packed("nvfp4-packed", 12, 64)


# ---- ModelOpt

def nvfp4_modelopt(name, rows, cols):
    weight = weights(name, rows, cols)
    quantised, scale, double = NVFP4QTensor.quantize(weight, 16)
    meant = quantised.dequantize(dtype=torch.float32, scale=scale, double_scale=double, block_sizes={-1: 16})
    config = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"],
              "kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"}, "producer": {"name": "modelopt"}}
    tensors = {"weight": quantised._quantized_data, "weight_scale": scale, "weight_scale_2": double, "input_scale": torch.tensor(0.2)}
    case(name, config, tensors, meant)


nvfp4_modelopt("nvfp4-modelopt", 14, 80)


# ---- MXFP4 as gpt-oss has it: stacked, and not transposed, though its plain form is

def mxfp4_blocks(name, experts, rows, cols):
    generator = torch.Generator().manual_seed(7)
    blocks = torch.randint(0, 256, (experts, rows, cols // 32, 16), generator=generator, dtype=torch.uint8)
    scales = torch.randint(110, 140, (experts, rows, cols // 32), generator=generator, dtype=torch.uint8)
    scales[0, 0, 0], scales[0, 1, 0] = 0, 252
    meant = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32).transpose(1, 2)
    case(name, {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}, {"weight_blocks": blocks, "weight_scales": scales}, meant)


mxfp4_blocks("mxfp4-blocks", 3, 10, 96)


# ---- GPTQ

def gptq(name, rows, cols, bits, group_size, symmetric, reordered, version="gptq"):
    weight = weights(name, rows, cols)
    size = cols if group_size == -1 else group_size
    groups = -(-cols // size)
    order = torch.arange(cols) // size
    if reordered:
        order = order[torch.randperm(cols, generator=torch.Generator().manual_seed(3))]
    scales, zeros = torch.empty(rows, groups), torch.empty(rows, groups)
    top = 2**bits - 1
    for group in range(groups):
        part = weight[:, order == group]
        low, high = part.amin(1).clamp(max=0), part.amax(1).clamp(min=0)
        if symmetric:
            high = torch.maximum(low.abs(), high).clamp(min=1e-3)
            scales[:, group], zeros[:, group] = 2 * high / top, (top + 1) // 2
        else:
            high = torch.where(high == low, low + 1e-3, high)
            scales[:, group] = (high - low) / top
            zeros[:, group] = torch.round(-low / scales[:, group])
    # Scales are stored in f16, and packing divides by what is stored.
    scales = scales.half().float()
    module = load(f"auto_gptq/nn_modules/qlinear/qlinear_cuda{'' if reordered else '_old'}.py")
    settings = {"bits": bits, "group_size": group_size, "infeatures": cols, "outfeatures": rows, "bias": False}
    layer = module.QuantLinear(**settings, weight_dtype=torch.float32)
    linear = torch.nn.Linear(cols, rows, bias=False)
    linear.weight.data = weight
    layer.pack(linear, scales, zeros.clone(), order.to(torch.int32))
    with torch.no_grad():
        meant = layer.float()(torch.eye(cols)).t()
    tensors = {"qweight": layer.qweight, "qzeros": layer.qzeros, "scales": layer.scales.half(), "g_idx": order.to(torch.int32)}
    if version == "gptq_v2":
        # GPTQModel's second version stores the zero points themselves.
        shifts = torch.arange(0, 32, bits)
        whole = ((tensors["qzeros"].long().unsqueeze(-1) >> shifts) + 1) & top
        tensors["qzeros"] = to_int32((whole << shifts).sum(-1))
    config = {"quant_method": "gptq", "bits": bits, "group_size": group_size, "sym": symmetric, "desc_act": reordered,
              "checkpoint_format": version, "damp_percent": 0.01, "true_sequential": True, "meta": {"quantizer": "auto-gptq"}}
    case(name, config, tensors, meant)


def to_int32(values):
    return torch.where(values >= 2**31, values - 2**32, values).to(torch.int32)


gptq("gptq-4-bits", 32, 64, 4, 32, True, False)
gptq("gptq-asymmetric", 32, 64, 4, 32, False, False)
gptq("gptq-reordered", 32, 96, 4, 32, True, True)
gptq("gptq-8-bits", 32, 64, 8, -1, False, False)
gptq("gptq-2-bits", 32, 64, 2, 32, False, False)
gptq("gptq-v2", 32, 64, 4, 32, False, False, "gptq_v2")


# ---- AWQ

def awq(name, rows, cols, group_size):
    dequantize_gemm = load("autoawq-0.2.9/awq/utils/packing_utils.py").dequantize_gemm
    generator = torch.Generator().manual_seed(11)
    groups = cols // group_size
    codes = torch.randint(0, 16, (cols, rows), generator=generator)
    zeros = torch.randint(0, 16, (groups, rows), generator=generator)
    scales = (torch.rand(groups, rows, generator=generator) * 0.01 + 0.001).half()
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    pack8 = lambda values: to_int32(sum(values[:, torch.arange(0, rows, 8) + order[i]].long() << (4 * i) for i in range(8)))
    tensors = {"qweight": pack8(codes), "qzeros": pack8(zeros), "scales": scales}
    meant = dequantize_gemm(tensors["qweight"], tensors["qzeros"], scales.float(), 4, group_size).t()
    assert torch.equal(meant, ((codes - zeros.repeat_interleave(group_size, 0)) * scales.float().repeat_interleave(group_size, 0)).t())
    case(name, {"quant_method": "awq", "bits": 4, "group_size": group_size, "zero_point": True, "version": "gemm"}, tensors, meant)


awq("awq", 24, 64, 32)

os.makedirs(TARGET, exist_ok=True)
save_file(stored, os.path.join(TARGET, "stored.safetensors"))
save_file(expected, os.path.join(TARGET, "expected.safetensors"))
with open(os.path.join(TARGET, "cases.json"), "w") as file:
    json.dump(cases, file, indent=1)
    file.write("\n")
print(f"{len(cases)} cases")
