"""DeepSeek-V3's weight format: float8_e4m3fn with one float32 scale per block, `<name>_scale_inv`."""
import torch

BLOCK = 128


def is_quantised(name, tensor):
    """All projections, as in the published checkpoint; embedding, head, norms and the gate stay as they are."""
    return tensor.dim() == 2 and name.endswith("_proj.weight") or name.endswith("_proj_with_mqa.weight")


def quantise(weight):
    """-> codes, scales, and the float32 weights that they stand for."""
    rows, columns = weight.shape
    codes = torch.empty(rows, columns, dtype=torch.float8_e4m3fn)
    scales = torch.empty(-(-rows // BLOCK), -(-columns // BLOCK))
    meant = torch.empty_like(weight)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            at = (slice(i * BLOCK, (i + 1) * BLOCK), slice(j * BLOCK, (j + 1) * BLOCK))
            scales[i, j] = weight[at].abs().max() / 448
            codes[at] = (weight[at] / scales[i, j]).to(torch.float8_e4m3fn)
            meant[at] = codes[at].float() * scales[i, j]
    return codes, scales, meant
