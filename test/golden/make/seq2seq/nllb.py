"""NLLB's layer of experts with the dispatch of fairseq, in the place of transformers'.

transformers 5.24.0 takes its mask of first choices for a list of experts (`NllbMoeSparseMLP` gives it to `NllbMoeExperts` as `router_mask`,
which makes classes of its zeros and ones): every first choice is computed by expert 1, and every other weight multiplies expert 0. Here
each weight multiplies the expert that it belongs to, as in fairseq's `MOELayer` (branch `nllb`; GShard, Lepikhin et al. 2020,
algorithm 1): y = sum over e of weight_e * expert_e(x), times 1 - moe_token_dropout, since fairseq's training masks that share of
the experts' outputs without scaling the rest up. The gate is transformers' own `NllbMoeTop2Router`, which is fairseq's `top2gating`.
"""
import torch
from transformers.models.nllb_moe import modeling_nllb_moe as nllb


def forward(self, hidden_states, padding_mask=None, faulty=False):
    shape = hidden_states.shape
    x = hidden_states.view(-1, shape[-1])
    first, weights, _ = self.router(x, padding_mask)
    y = torch.zeros_like(x)
    for row in range(x.shape[0]):
        for expert in range(self.num_experts):
            computed_by = int(first[row, expert]) if faulty else expert
            if weights[row, expert] == 0:
                continue
            y[row] += weights[row, expert] * self.experts[f"expert_{computed_by}"](x[row])
    return (y * (1 - self.experts.moe_token_dropout)).view(shape)


def check_against_transformers(model, run):
    """That all else is transformers': with its dispatch put in, this computes what it computes."""
    theirs = run(model)
    nllb.NllbMoeSparseMLP.forward, original = (lambda self, x, mask=None: forward(self, x, mask, faulty=True)), nllb.NllbMoeSparseMLP.forward
    ours = run(model)
    nllb.NllbMoeSparseMLP.forward = lambda self, x, mask=None: forward(self, x, mask)
    right = run(model)
    error = lambda a, b: float(((a - b) ** 2).sum() / (b**2).sum())
    assert error(ours, theirs) < 1e-12, error(ours, theirs)
    assert error(right, theirs) > 1e-3, "the two dispatches don't differ on this model"
    return error(ours, theirs)
