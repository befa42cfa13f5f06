"""Makes test/golden/fixtures/gates/NAME.json for each gate of packages/model/src/gates.

    python3 -m venv /tmp/gates && /tmp/gates/bin/pip install -r test/golden/make/gates/requirements.txt
    /tmp/gates/bin/python test/golden/make/gates/make.py test/golden/fixtures/gates

Each gate is computed here from its paper's equations, in NumPy and float64, as dense matrices with masks; nothing is
shared with packages/model. Where transformers has the gate (switch_transformers, nllb_moe, deepseek_v4), its own module
computes it, in float64 and in float32, and NumPy's result must be the same.

A case has the gate's settings, its layer and its rows, and what is expected: for each row the experts in ascending order
with their weights, and those that were dropped; or, of slots, the shares of rows and slots.
"""

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from transformers.models.deepseek_v4.modeling_deepseek_v4 import DeepseekV4HashRouter
from transformers.models.nllb_moe.modeling_nllb_moe import NllbMoeTop2Router
from transformers.models.switch_transformers.modeling_switch_transformers import SwitchTransformersTop1Router

GATES = {}


def gate(function):
    """Registers a function that returns the cases of the gate of its name."""
    GATES[function.__name__.replace("_", "-")] = function
    return function


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


SCORES = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "sqrt-softplus": lambda x: np.sqrt(np.logaddexp(0, x)),
    "equal": np.ones_like,
}


def logits_of(seed, rows, columns, spread=2.0):
    """Random logits that float32 holds exactly, so that both precisions start from the same ones."""
    return np.random.default_rng(seed).normal(0, spread, (rows, columns)).astype(np.float32).astype(np.float64)


def keep_top(scores, k):
    """A mask of each row's k largest; of equal ones the first."""
    order = np.argsort(-scores, axis=1, kind="stable")
    mask = np.zeros(scores.shape, bool)
    np.put_along_axis(mask, order[:, :k], True, axis=1)
    return mask


def weighted(scores, mask, settings):
    """DeepSeek-V3 paper, eq. 13 and 14; DeepSeek-V2 scales instead of normalising."""
    weights = np.where(mask, scores, 0)
    scale = settings.get("routedScalingFactor", 1)
    if not settings.get("normTopkProb", True):
        return weights * scale
    weights = weights / (weights.sum(axis=1, keepdims=True) + 1e-20)
    return weights * (scale if settings.get("scaleWhenNormalised", False) else 1)


def case(name, settings, logits, mask, weights, dropped=None, layer=None, rows=None, precision=64):
    dropped = np.zeros(mask.shape, bool) if dropped is None else dropped
    of_rows = [np.flatnonzero(row) for row in mask]
    return {
        "name": name,
        "precision": precision,
        "settings": settings,
        "layer": {"layer": 0, "numExperts": logits.shape[1], **(layer or {})},
        "rows": {"numRows": logits.shape[0], "logits": logits.ravel().tolist(), **(rows or {})},
        "expected": {
            "experts": [experts.tolist() for experts in of_rows],
            "weights": [weights[row, experts].tolist() for row, experts in enumerate(of_rows)],
            "dropped": np.argwhere(dropped).tolist(),
        },
    }


@gate
def top_k():
    for settings in (
        {"k": 2, "scoring": "softmax"},
        {"k": 4, "scoring": "softmax", "normTopkProb": False, "routedScalingFactor": 2.5},
        {"k": 8, "scoring": "sigmoid", "scaleWhenNormalised": True, "routedScalingFactor": 1.5},
    ):
        logits = logits_of(1, 12, 8)
        scores = SCORES[settings["scoring"]](logits)
        mask = keep_top(scores, settings["k"])
        yield case(f"{settings['scoring']}, {settings['k']} of 8", settings, logits, mask, weighted(scores, mask, settings))
    # Llama 4: by logits, since sigmoids of large ones are equal.
    settings = {"k": 1, "scoring": "sigmoid", "scalesInput": True, "normTopkProb": False}
    logits = logits_of(2, 8, 4) + 40
    mask = keep_top(logits, 1)
    yield case("by logits", settings, logits, mask, weighted(sigmoid(logits), mask, settings))


def group_mask(choice, settings):
    groups = choice.reshape(len(choice), settings["nGroup"], -1)
    best = np.sort(groups, axis=2)[:, :, ::-1]
    of_groups = best[:, :, :2].sum(axis=2) if settings["groupScore"] == "sum-of-best-two" else best[:, :, 0]
    kept = keep_top(of_groups, settings["topkGroup"])
    return np.repeat(kept, groups.shape[2], axis=1)


@gate
def group_limited():
    v3 = {"k": 4, "scoring": "sigmoid", "nGroup": 4, "topkGroup": 2, "groupScore": "sum-of-best-two"}
    v3 |= {"scaleWhenNormalised": True, "routedScalingFactor": 2.5}
    v2 = {"k": 3, "scoring": "softmax", "nGroup": 4, "topkGroup": 2, "groupScore": "max", "normTopkProb": False}
    for name, settings, bias in (
        ("noaux_tc", v3, logits_of(4, 1, 16, 0.2)[0]),
        ("noaux_tc with biased scores below 0", v3, logits_of(5, 1, 16, 0.2)[0] - 2),
        ("group_limited_greedy", v2 | {"routedScalingFactor": 16.0}, None),
    ):
        logits = logits_of(3, 16, 16)
        scores = SCORES[settings["scoring"]](logits)
        choice = scores if bias is None else scores + bias
        mask = keep_top(np.where(group_mask(choice, settings), choice, -np.inf), settings["k"])
        layer = {} if bias is None else {"bias": bias.tolist()}
        yield case(name, settings, logits, mask, weighted(scores, mask, settings), layer=layer)


@gate
def device_limited():
    """Without replicas: a device's affinity is that of its best expert (DeepSeek-V2 paper, §2.2.2)."""
    logits = logits_of(6, 24, 16)
    device = np.arange(16) // 4
    groups = {"nGroup": 8, "topkGroup": 3, "groupScore": "max"}
    plain = [(f"{peers} of 4 tabs", {"k": 4, "maxPeers": peers}) for peers in (1, 2, 3, 4)]
    for name, settings in [*plain, ("1 of 4 tabs, within groups", {"k": 2, "maxPeers": 1} | groups)]:
        scores = softmax(logits)
        choice = np.where(group_mask(scores, settings), scores, -np.inf) if "nGroup" in settings else scores
        affinity = np.stack([choice[:, device == d].max(axis=1) for d in range(4)], axis=1)
        allowed = keep_top(affinity, settings["maxPeers"])[:, device]
        mask = keep_top(np.where(allowed, choice, -np.inf), settings["k"])
        layer = {"holders": [[int(d)] for d in device]}
        yield case(name, settings, logits, mask, weighted(scores, mask, settings), layer=layer)


def with_identity(router, columns):
    """A router whose logits are its inputs."""
    with torch.no_grad():
        router.classifier.weight.copy_(torch.eye(columns))
    return router.eval()


PRECISIONS = {64: "float64", 32: "float32"}


@gate
def top_1_capacity():
    def numpy_result(logits, capacity):
        scores = softmax(logits)
        chosen = np.eye(logits.shape[1], dtype=int)[scores.argmax(axis=1)]
        kept = (chosen == 1) & (chosen.cumsum(axis=0) <= capacity)
        return kept, (chosen == 1) & ~kept, np.where(kept, scores, 0)

    def reference(logits, capacity, dtype):
        columns = logits.shape[1]
        config = SimpleNamespace(num_experts=columns, expert_capacity=capacity, hidden_size=columns, router_bias=False,
                                 router_jitter_noise=0.0, router_ignore_padding_tokens=False, router_dtype=dtype)
        router = with_identity(SwitchTransformersTop1Router(config), columns)
        index, probabilities, _ = router(torch.tensor(logits, dtype=getattr(torch, dtype))[None])
        kept = index[0].bool().numpy()
        return kept, np.where(kept, probabilities[0].detach().double().numpy(), 0)

    for name, logits, settings, capacity in (
        ("few places, which earlier rows take", logits_of(7, 32, 8), {"capacity": 3}, 3),
        ("room for all", logits_of(8, 12, 4), {"capacity": 12}, 12),
        ("one favourite", logits_of(9, 20, 4) + np.array([6, 0, 0, 0]), {"capacity": 5}, 5),
        ("equal logits", np.zeros((6, 4)), {"capacity": 2}, 2),
        ("by a factor", logits_of(10, 30, 8), {"capacityFactor": 1.25}, int(30 * 1.25 / 8)),
    ):
        for precision, dtype in PRECISIONS.items():
            kept, dropped, weights = numpy_result(logits, capacity)
            theirs, their_weights = reference(logits, capacity, dtype)
            assert (kept == theirs).all() and np.allclose(weights, their_weights, atol=1e-12 if precision == 64 else 1e-6)
            yield case(f"{name}, {dtype}", settings, logits, kept, their_weights, dropped, precision=precision)


@gate
def top_2_capacity():
    def numpy_result(logits, capacity, before, prioritized):
        rows, columns = logits.shape
        scores = softmax(logits)
        first = np.eye(columns, dtype=int)[scores.argmax(axis=1)]
        second = np.eye(columns, dtype=int)[np.where(first == 1, -np.inf, logits).argmax(axis=1)]
        order = np.argsort(-scores.max(axis=1), kind="stable") if prioritized else np.arange(rows)
        place = lambda chosen: (chosen[order].cumsum(axis=0) - 1)[np.argsort(order)]
        kept1 = (first == 1) & (place(first) < capacity)
        kept2 = (second == 1) & (place(second) + first.sum(axis=0) < capacity)
        of = (first, second) if before else (kept1, kept2)
        total = np.maximum((scores * of[0]).sum(axis=1) + (scores * of[1]).sum(axis=1), np.finfo(np.float64).eps)
        kept = kept1 | kept2
        return kept, ((first + second) == 1) & ~kept, scores * kept / total[:, None]

    def reference(logits, settings, dtype):
        columns = logits.shape[1]
        config = SimpleNamespace(
            num_experts=columns, expert_capacity=settings.get("capacity"), hidden_size=columns, router_bias=False,
            router_ignore_padding_tokens=False, router_dtype=dtype, second_expert_policy="all",
            normalize_router_prob_before_dropping=settings.get("normalizeBeforeDropping", False),
            batch_prioritized_routing=settings.get("batchPrioritizedRouting", False),
            moe_eval_capacity_token_fraction=settings.get("capacityTokenFraction", -1.0))
        router = with_identity(NllbMoeTop2Router(config), columns)
        _, weights, _ = router(torch.tensor(logits, dtype=getattr(torch, dtype)))
        return weights.detach().double().numpy()

    for name, rows, settings in (
        ("NLLB's own capacity of 2 ⌈n/E⌉", 21, {}),
        ("few places", 32, {"capacity": 5}),
        ("few places, sums of 1 before dropping", 32, {"capacity": 5, "normalizeBeforeDropping": True}),
        ("few places for clear choices", 32, {"capacity": 5, "batchPrioritizedRouting": True}),
        ("a part of the rows", 32, {"capacity": 9, "capacityTokenFraction": 0.2}),
    ):
        logits = logits_of(11, rows, 8)
        capacity = settings.get("capacity", 2 * math.ceil(rows / 8))
        if settings.get("capacityTokenFraction", -1) > 0:
            capacity = math.ceil(settings["capacityTokenFraction"] * rows)
        flags = settings.get("normalizeBeforeDropping", False), settings.get("batchPrioritizedRouting", False)
        for precision, dtype in PRECISIONS.items():
            kept, dropped, weights = numpy_result(logits, capacity, *flags)
            theirs = reference(logits, settings, dtype)
            assert (kept == (theirs > 0)).all() and np.allclose(weights, theirs, atol=1e-12 if precision == 64 else 1e-6)
            yield case(f"{name}, {dtype}", settings, logits, kept, theirs, dropped, precision=precision)


@gate
def noisy_top_k():
    """The draws of the standard normal distribution are part of the case."""
    logits, noise_logits = logits_of(12, 16, 8), logits_of(13, 16, 8)
    normals = np.random.default_rng(14).normal(size=logits.shape)
    for name, scale, learned in (("no noise", 0, False), ("learned noise", 1.0, True), ("plain noise", 0.5, False)):
        deviation = np.log1p(np.exp(noise_logits)) if learned else 1.0
        noised = logits + normals * deviation * scale  # eq. 4
        mask = keep_top(noised, 3)  # eq. 5
        weights = softmax(np.where(mask, noised, -np.inf))  # eq. 3
        rows = {"normals": normals.ravel().tolist()}
        if learned:
            rows["noiseLogits"] = noise_logits.ravel().tolist()
        yield case(name, {"k": 3, "noiseScale": scale}, logits, mask, weights, rows=rows)


@gate
def hash():
    vocab, columns, k = 20, 8, 3
    rng = np.random.default_rng(15)
    table = np.stack([rng.permutation(columns)[:k] for _ in range(vocab)])
    ids = rng.integers(0, vocab, 16)
    logits = logits_of(16, 16, columns)
    mask = np.zeros(logits.shape, bool)
    np.put_along_axis(mask, table[ids], True, axis=1)
    layer = {"vocabSize": vocab, "hashTable": table.ravel().tolist()}
    for scoring in ("equal", "sqrt-softplus", "sigmoid"):
        settings = {"k": k, "scoring": scoring, "routedScalingFactor": 1.5}
        weights = weighted(SCORES[scoring](logits), mask, settings | {"scaleWhenNormalised": True})
        if scoring == "sqrt-softplus":
            config = SimpleNamespace(num_experts_per_tok=k, num_local_experts=columns, hidden_size=columns,
                                     scoring_func="sqrtsoftplus", routed_scaling_factor=1.5, vocab_size=vocab)
            router = DeepseekV4HashRouter(config).double()
            router.weight.data = torch.eye(columns, dtype=torch.float64)
            router.tid2eid.copy_(torch.tensor(table))
            _, theirs, indices = router(torch.tensor(logits), torch.tensor(ids))
            assert np.allclose(np.take_along_axis(weights, indices.numpy(), axis=1), theirs.detach().numpy(), atol=1e-12)
        yield case(scoring, settings, logits, mask, weights, layer=layer, rows={"tokenIds": ids.tolist()})


@gate
def expert_choice():
    for rows, columns, factor in ((32, 8, 2.0), (30, 8, 1.0), (5, 8, 0.5), (6, 4, 8.0)):
        logits = logits_of(17, rows, columns)
        scores = softmax(logits)  # S ∈ R^{n×e}
        take = min(rows, max(1, int(factor * rows / columns)))  # k = n·c / e
        mask = keep_top(scores.T, take).T  # G, I = TopK(Sᵀ, k)
        yield case(f"c = {factor}, {rows} rows", {"capacityFactor": factor}, logits, mask, np.where(mask, scores, 0))


@gate
def soft():
    for rows, experts, slots in ((12, 4, 1), (9, 3, 4)):
        rng = np.random.default_rng(18)
        logits = logits_of(19, rows, experts * slots)
        x, outputs = rng.normal(size=(rows, 6)), rng.normal(size=(experts * slots, 6))
        d, c = softmax(logits, axis=0), softmax(logits, axis=1)  # eq. 1 and 3
        yield {
            "name": f"{experts} experts of {slots} slots",
            "precision": 64,
            "settings": {"slotsPerExpert": slots},
            "layer": {"layer": 0, "numExperts": experts},
            "rows": {"numRows": rows, "logits": logits.ravel().tolist()},
            "x": x.ravel().tolist(),
            "outputs": outputs.ravel().tolist(),
            "expected": {
                "dispatch": d.T.ravel().tolist(),
                "combine": c.ravel().tolist(),
                "slots": (d.T @ x).ravel().tolist(),
                "rows": (c @ outputs).ravel().tolist(),
            },
        }


def main():
    folder = Path(sys.argv[1])
    for name, cases in GATES.items():
        lines = ",\n".join(json.dumps(each, ensure_ascii=False) for each in cases())
        (folder / f"{name}.json").write_text(f"[\n{lines}\n]\n")


main()
