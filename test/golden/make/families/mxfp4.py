"""gpt-oss's weight format: OCP MXFP4, FP4 codes with one power of two for 32 inputs, `<name>_blocks` and `<name>_scales`."""
import torch

BLOCK = 32
# FP4 E2M1, by code without its sign.
VALUES = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])


def is_quantised(name):
    """The experts' matrices, as in the published checkpoint."""
    return name.endswith((".experts.gate_up_proj", ".experts.down_proj"))


def quantise(weight):
    """weight [experts, inputs, outputs], as transformers has it -> blocks [experts, outputs, blocks, 16], scales [experts,
    outputs, blocks], and the float32 weights that they stand for, [experts, inputs, outputs]."""
    rows = weight.transpose(1, 2)
    blocks = rows.reshape(*rows.shape[:2], -1, BLOCK)
    exponent = blocks.abs().amax(-1).log2().floor() - 2
    scaled = blocks * torch.exp2(-exponent)[..., None]
    nearest = (scaled.abs()[..., None] - VALUES).abs().argmin(-1)
    codes = (nearest + 8 * (scaled < 0)).to(torch.uint8)
    meant = VALUES[nearest] * scaled.sign() * torch.exp2(exponent)[..., None]
    packed = codes[..., ::2] | codes[..., 1::2] << 4
    return packed, (exponent + 127).to(torch.uint8), meant.reshape(rows.shape).transpose(1, 2).contiguous()
