"""The reference implementation, made to compute the published algorithm where it departs from it, and watched as it does."""
import itertools
import types

import torch
import torch.nn.functional as F

# Least margin of every choice of experts in a greedy answer, and a tenth of the least margin of every choice of tokens.
# (clear, least distinct tokens), tried in this order.
CLEAR = [(0.01, 5), (0.004, 5), (0.004, 0)]


ROUTERS = ("TopkRouter", "TopKRouter", "Llama4Router", "HunYuanMoEV1Gate")


def routers(model):
    return [module for module in model.modules() if type(module).__name__.endswith(ROUTERS)]


def routing(router, inputs, output):
    """What a router's call gave: (logits, what it chose by, weights, experts), each [rows, experts or k]."""
    if type(router).__name__ == "Llama4Router":
        scores, logits = output
        experts = logits.topk(router.top_k, -1).indices
        return logits, logits, scores.gather(-1, experts), experts
    logits, weights, experts = output
    if hasattr(router, "moe_statics"):
        by = logits.softmax(-1) + router.moe_statics.e_score_correction_bias.squeeze()
    elif type(router).__name__ == "MiniMaxM2TopKRouter":
        by = logits.sigmoid() + inputs[1]
    elif hasattr(router, "e_score_correction_bias"):
        by = logits.sigmoid() + router.e_score_correction_bias
    else:
        by = logits
    return logits, by, weights, experts


def patch_published(model):
    """Where this version of transformers departs from the published algorithm, compute the published one. -> what was changed"""
    departures = []
    config = model.config
    if config.model_type == "deepseek_v2" and config.norm_topk_prob:
        for router in routers(model):
            router.forward = types.MethodType(published_v2_router, router)
        departures.append(
            "DeepseekV2TopkRouter ignores norm_topk_prob and always scales; DeepSeek's code normalises instead of scaling "
            "where it is true and k > 1 (w = s / (sum + 1e-20))")
    return departures


def published_v2_router(self, hidden_states):
    hidden_states = hidden_states.view(-1, self.hidden_dim)
    logits = F.linear(hidden_states.float(), self.weight.float())
    scores = logits.softmax(-1, dtype=torch.float32)
    assert self.topk_method == "greedy" and self.top_k > 1
    weights, indices = torch.topk(scores, k=self.top_k, dim=-1, sorted=False)
    return logits, weights / (weights.sum(-1, keepdim=True) + 1e-20), indices


def run(model, ids):
    """ids [batch, tokens] -> logits [batch, tokens, vocab], and per router its `routing`, rows in order of ids."""
    seen = []
    hooks = [router.register_forward_hook(lambda *args: seen.append(routing(*args))) for router in routers(model)]
    try:
        return model(ids, use_cache=False).logits, seen
    finally:
        for hook in hooks:
            hook.remove()


def chosen_experts(model, ids):
    """One sequence [1, tokens] -> logits [tokens, vocab], experts and weights [layers, tokens, k], experts ascending."""
    logits, seen = run(model, ids)
    experts, weights = [], []
    for _, _, weight, index in seen:
        order = index.argsort(-1)
        experts.append(index.gather(-1, order))
        weights.append(weight.gather(-1, order))
    if not experts:
        return {"logits": logits[0]}
    return {"logits": logits[0], "experts": torch.stack(experts), "weights": torch.stack(weights)}


def selection_margin(router, scores):
    """How far each row's choice by `scores` is from another one, groups included: [rows]"""
    if hasattr(router, "e_score_correction_bias"):
        group_score = lambda g: g.topk(2, -1).values.sum(-1)
    else:
        group_score = lambda g: g.max(-1).values
    margin = torch.full(scores.shape[:1], float("inf"))
    groups, kept = getattr(router, "num_group", None) or 1, getattr(router, "topk_group", None) or 1
    if getattr(router, "topk_method", None) == "greedy":
        groups, kept = 1, 1
    if groups > kept:
        by_group = scores.view(len(scores), groups, -1)
        best = group_score(by_group).sort(-1, descending=True)
        margin = best.values[:, kept - 1] - best.values[:, kept]
        allowed = torch.zeros(len(scores), groups, dtype=torch.bool).scatter_(1, best.indices[:, :kept], True)
        scores = by_group.masked_fill(~allowed[..., None], float("-inf")).view(len(scores), -1)
    if router.top_k == scores.shape[-1]:
        # There is no other choice: JSON has no infinity.
        return torch.full_like(margin, 1.0)
    ordered = scores.sort(-1, descending=True).values
    return torch.minimum(margin, ordered[:, router.top_k - 1] - ordered[:, router.top_k])


def margins_by_row(model, ids):
    """ids [batch, tokens] -> the least selection margin over all MoE layers, [batch, tokens]"""
    _, seen = run(model, ids)
    margins = [selection_margin(router, by) for router, (_, by, _, _) in zip(routers(model), seen, strict=True)]
    if not margins:
        # No choice is close where there is none.
        return torch.ones(ids.shape)
    return torch.stack(margins).min(0).values.view(ids.shape)


def clear_sequences(model, generator, lengths, num_tokens, candidates=6, clear=0.01):
    """Random sequences, token by token the first of a few candidates at which no layer's choice of experts is close: half
    precision must not change it, so that a faster implementation can be held to the same experts. -> a list of [length]"""
    ids = torch.empty(len(lengths), 0, dtype=torch.long)
    for _ in range(max(lengths)):
        drawn = torch.randint(4, num_tokens, (candidates, len(lengths)), generator=generator)
        tried = torch.cat([torch.cat([ids, tokens[:, None]], 1) for tokens in drawn])
        margin = margins_by_row(model, tried)[:, -1].view(candidates, len(lengths))
        # The first clear one; the clearest where none is.
        best = torch.where((margin > clear).any(0), (margin > clear).int().argmax(0), margin.argmax(0))
        ids = torch.cat([ids, drawn.gather(0, best[None])[0][:, None]], 1)
    return [ids[i, :length] for i, length in enumerate(lengths)]


def greedy_margins(model, generator, num_tokens, candidates, prompt_tokens, answer_tokens, kept, eos):
    """Greedy answers of random prompts: of those that vary most, the ones whose choices (of tokens and experts) are clearest, as
    half precision on a wire must not change them. Those that end early are left out."""
    prompts = torch.randint(4, num_tokens, (candidates, prompt_tokens), generator=generator)
    ids = prompts
    logit_margin = torch.full((candidates,), float("inf"))
    # 1 where there is no choice.
    gate_margin = torch.full((candidates,), float("inf") if routers(model) else 1.0)
    ended = torch.zeros(candidates, dtype=torch.bool)
    for step in range(answer_tokens):
        logits, seen = run(model, ids)
        best = logits[:, -1].topk(2, -1)
        logit_margin = torch.minimum(logit_margin, best.values[:, 0] - best.values[:, 1])
        for router, (_, by, _, _) in zip(routers(model), seen, strict=True):
            margins = selection_margin(router, by).view(candidates, -1)
            gate_margin = torch.minimum(gate_margin, margins.min(-1).values)
        chosen = best.indices[:, 0]
        ended |= torch.isin(chosen, torch.tensor(sorted(eos)))
        ids = torch.cat([ids, chosen[:, None]], 1)
    # [candidates]
    clearness = torch.minimum(gate_margin, logit_margin / 10).masked_fill(ended, -1)
    variety = torch.tensor([len(set(answer)) for answer in ids[:, prompt_tokens:].tolist()])
    # The most distinct tokens that enough clear answers have; fewer than a third are taken only where nothing else is clear.
    for clear, wanted in itertools.chain(*(((c, w) for w in range(answer_tokens, least, -1)) for c, least in CLEAR)):
        best, order = clearness.masked_fill(variety < wanted, -1).topk(kept)
        if best[-1] > clear:
            break
    else:
        raise AssertionError("no clear answers: other weights are needed")
    return [
        {"prompt_ids": ids[i, :prompt_tokens].tolist(), "ids": ids[i, prompt_tokens:].tolist(),
         "logit_margin": logit_margin[i].item(), "gate_margin": gate_margin[i].item()}
        for i in order.tolist()
    ]
