"""Blocks of every GGUF type that Shoal reads, and the float32 values that llama.cpp gives them.

usage: blocks.py LIBGGML_BASE OUT.gguf
LIBGGML_BASE is node-llama-cpp's libggml-base.so (node_modules/@node-llama-cpp/linux-x64/bins/linux-x64). Writes a GGUF file with two
tensors a type, `<type>.blocks` and `<type>.values`; stops where gguf-py's numpy code and llama.cpp's C code differ in a bit.
"""
import ctypes, sys

import gguf, numpy as np
from gguf import GGMLQuantizationType as T, GGML_QUANT_SIZES

# Byte offsets of a block's float16 numbers.
HALVES = {
    T.F16: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
    T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.IQ4_XS: [0],
}
# The smallest, the largest, the zeros, the largest subnormal and the smallest normal number, of both signs.
EXTREMES = [0x0001, 0x8001, 0x7BFF, 0xFBFF, 0x0000, 0x8000, 0x03FF, 0x0400]
VALUES_PER_TYPE = 2048


class InitParams(ctypes.Structure):
    _fields_ = [("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]


def blocks_of(qtype, rng):
    block_values, block_bytes = GGML_QUANT_SIZES[qtype]
    count = VALUES_PER_TYPE // block_values
    blocks = rng.integers(0, 256, (count, block_bytes), dtype=np.uint8)
    for offset in HALVES.get(qtype, []):
        halves = rng.integers(0, 0x10000, count).astype(np.uint16)
        halves[: len(EXTREMES) // 2] = rng.permutation(EXTREMES)[: len(EXTREMES) // 2]
        halves[(halves & 0x7C00) == 0x7C00] &= 0xBFFF  # Neither NaN nor infinite.
        blocks[:, offset : offset + 2] = halves.view(np.uint8).reshape(count, 2)
    if qtype == T.MXFP4:
        blocks[:4, 0] = [0, 1, 2, 252]  # 2^-127 is no normal float32; 253 would make the code 6 infinite.
        blocks[4:, 0] %= 253
    if qtype in (T.F32, T.BF16):
        high = blocks[:, -1]
        high[(high & 0x7F) == 0x7F] &= 0xBF
    return blocks


def by_llama_cpp(ggml, qtype, blocks):
    values = np.empty(VALUES_PER_TYPE, dtype=np.float32)
    if qtype == T.F32:
        return blocks.view(np.float32).reshape(-1).copy()
    name = {T.F16: "ggml_fp16_to_fp32_row", T.BF16: "ggml_bf16_to_fp32_row"}.get(qtype)
    if name is None:
        name = "dequantize_row_" + qtype.name.lower().replace("_k", "_K")
    function = getattr(ggml, name)
    function.restype = None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    function(blocks.ctypes.data, values.ctypes.data, VALUES_PER_TYPE)
    return values


def main(library, out):
    ggml = ctypes.CDLL(library)
    # Fills ggml's table of float16.
    ggml.ggml_init(InitParams(1 << 20, None, True))
    rng = np.random.default_rng(20261130)
    writer = gguf.GGUFWriter(out, "blocks")
    for qtype in [T.F32, T.F16, T.BF16, T.MXFP4, *[t for t in HALVES if t != T.F16]]:
        blocks = blocks_of(qtype, rng)
        values = by_llama_cpp(ggml, qtype, blocks)
        assert np.isfinite(values).all(), qtype
        python = gguf.quants.dequantize(blocks.reshape(1, -1), qtype).reshape(-1)
        assert (python.view(np.uint32) == values.view(np.uint32)).all(), qtype
        writer.add_tensor(f"{qtype.name}.blocks", blocks.reshape(1, -1), raw_dtype=qtype)
        writer.add_tensor(f"{qtype.name}.values", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main(sys.argv[1], sys.argv[2])
