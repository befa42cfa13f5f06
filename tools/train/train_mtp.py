"""Train the MTP module of a checkpoint to draft several tokens ahead. Everything else of it stays as it is, bit for bit.

usage: train_mtp.py MODEL_DIR STATES_DIR OUT.pt MINUTES        STATES_DIR from states.py; goes on from OUT.pt if there is one
The module is unrolled over eight rows on its own hidden states (unroll.py). Each row's target is the main model's distribution, known
from STATES_DIR. Only chains whose drafts so far may be right go on: a chain goes on with the chance that speculative sampling accepts
its draft with (Leviathan et al. 2023), or if its draft is the text's token, and seldom otherwise.
"""
import glob, os, sys, time
import numpy as np
import torch
from checkpoint import load_model
from model import Precision
from train import AUX, BIAS_SPEED, Muon
from unroll import Unroll, take

TEXTS, CHAINS = 8, 128
# The weight of each row's loss. All drafts of a pass depend on the first.
WEIGHTS = (3, 1.5, 1, 1, 1, 1, 1, 1)
LR_MUON, LR_ADAM = 0.01, 1e-3
# Chains whose draft was wrong go on with this chance: at first hardly any other reaches the last rows.
LAST_CHANCE = 0.1


class HeadLoss(torch.autograd.Function):
    """Cross-entropy of softmax(w x) against the main model's likeliest tokens, without keeping any logits.

    x [N, D], w [V, D], top and mass [N, K], token [N] -> loss [N], probability of `token` [N], likeliest token [N]
    """

    @staticmethod
    def forward(ctx, x, w, top, mass, token):
        w = w.to(Precision.matmul)
        grad = torch.empty(x.shape, dtype=torch.float32)
        loss, q, best = x.new_empty(len(x)), x.new_empty(len(x)), token.new_empty(len(x))
        for at in range(0, len(x), 128):  # a block's logits stay in the processor's cache
            part = slice(at, at + 128)
            z = (x[part].to(w.dtype) @ w.t()).float()
            most, best[part] = z.max(-1)
            z -= most[:, None]
            hit = z.gather(1, top[part])
            total = z.exp_().sum(-1, keepdim=True)
            loss[part] = total[:, 0].log() - (mass[part] * hit).sum(-1)
            z /= total
            q[part] = z.gather(1, token[part, None])[:, 0]
            z.scatter_add_(1, top[part], -mass[part])
            grad[part] = (z.to(w.dtype) @ w).float()
        ctx.save_for_backward(grad)
        ctx.mark_non_differentiable(q, best)
        return loss, q, best

    @staticmethod
    def backward(ctx, of_loss, *_):
        return ctx.saved_tensors[0] * of_loss[:, None], None, None, None, None


class States:
    """The texts of STATES_DIR, in batches of texts of about the same length."""

    def __init__(self, folder, rng):
        self.folder, self.rng, self.files, self.queue = folder, rng, {}, []

    def refill(self):
        """All texts once more, in a new order, those of files that have come since too."""
        for n in sorted(glob.glob(f"{self.folder}/*.lengths.npy")):
            if n not in self.files:
                stem = n[:-len("lengths.npy")]
                self.files[n] = {k: np.load(f"{stem}{k}.npy", mmap_mode="r") for k in ("ids", "hidden", "top", "mass", "lengths")}
        texts = [(int(n), f, i) for f, file in self.files.items() for i, n in enumerate(file["lengths"]) if n > 24]
        order = [texts[i] for i in self.rng.permutation(len(texts))]
        groups = [sorted(order[i:i + 32 * TEXTS]) for i in range(0, len(order), 32 * TEXTS)]
        self.queue = [g[i:i + TEXTS] for g in groups for i in range(0, len(g) - TEXTS + 1, TEXTS)]
        self.rng.shuffle(self.queue)
        print(len(texts), "texts,", sum(t[0] for t in texts), "tokens", flush=True)

    def batch(self):
        if not self.queue:
            self.refill()
        chosen = self.queue.pop()
        length = max(n for n, _, _ in chosen)
        out = {}
        for key, kind in (("ids", np.int64), ("top", np.int64), ("mass", np.float32), ("hidden", np.float32)):
            rows = [self.files[f][key][i][:length] for _, f, i in chosen]
            out[key] = torch.from_numpy(np.stack([np.pad(r, [(0, length - len(r))] + [(0, 0)] * (r.ndim - 1)) for r in rows]).astype(kind))
        out["mass"] = out["mass"] / out["mass"].sum(-1, keepdim=True).clamp(min=1e-6)
        return torch.tensor([n for n, _, _ in chosen]), out


def step_loss(model, lengths, batch, generator):
    """The weighted sum of the mean losses; and per row its loss and the share of chains whose drafts are all right so far."""
    ids, D = batch["ids"], batch["hidden"].shape[-1]
    # Position i drafts token i + 2, the last one at the earliest.
    start = (torch.rand(len(ids), CHAINS, generator=generator) * (lengths[:, None] - 2)).long()
    unroll, alive = Unroll(model, ids, batch["hidden"], start), torch.ones_like(start, dtype=torch.bool)
    right, total, figures, aux = alive, 0.0, [], 0.0
    for depth, weight in enumerate(WEIGHTS):
        out = unroll.step()
        at = unroll.start + depth + 1  # the position that the main model knows the same token from
        top, mass, token = take(batch["top"], at), take(batch["mass"], at), take(ids, (at + 1))
        loss, q, best = HeadLoss.apply(out.flatten(0, 1), model.lm_head, top.flatten(0, 1), mass.flatten(0, 1), token.flatten())
        mean = loss[alive.flatten()].sum() / max(int(alive.sum()), TEXTS * CHAINS // 16)
        total, aux = total + weight * mean, aux + model.mtp.layer.mlp.aux
        p = (mass * (top == token[..., None])).sum(-1)
        right = right & alive & (best.view_as(token) == token)
        figures.append((mean.item(), right.sum().item() / (len(ids) * CHAINS)))
        if depth + 1 == len(WEIGHTS):
            break
        chance = torch.where(best.view_as(token) == token, 1.0, q.view_as(p) / p.clamp(min=1e-6)).clamp(min=LAST_CHANCE)
        alive = alive & (torch.rand(alive.shape, generator=generator) < chance) & (at + 2 < lengths[:, None])
        most = max(1, int(alive.sum(-1).max()))
        which = alive.int().argsort(dim=-1, descending=True, stable=True)[:, :most]
        unroll.keep(which)
        alive, right = alive.gather(1, which), right.gather(1, which)
        unroll.start = torch.where(alive, unroll.start, 0)  # so that no dead chain reads beyond its text
    return total + AUX * aux, figures


def main(folder, states, out, minutes):
    torch.manual_seed(1)
    Precision.matmul = torch.bfloat16
    rng, generator = np.random.default_rng(1), torch.Generator().manual_seed(1)
    model, data = load_model(folder), States(states, rng)
    model.requires_grad_(False)
    model.mtp.requires_grad_(True).train()
    matrices = [p for n, p in model.mtp.named_parameters() if p.ndim >= 2 and not n.endswith("mlp.gate")]
    others = [p for n, p in model.mtp.named_parameters() if p.ndim < 2 or n.endswith("mlp.gate")]
    muon, adam = Muon(matrices), torch.optim.AdamW(others, lr=LR_ADAM, betas=(0.9, 0.95), weight_decay=0.0)
    before, step, moe = 0.0, 0, model.mtp.layer.mlp
    if os.path.exists(out):
        saved = torch.load(out)
        model.mtp.load_state_dict(saved["module"])
        muon.m, before, step = saved["muon"], saved["seconds"], saved["step"]
        adam.load_state_dict(saved["adam"])
        generator.manual_seed(step)

    def save(seconds):
        torch.save({"module": model.mtp.state_dict(), "muon": muon.m, "adam": adam.state_dict(), "seconds": seconds, "step": step}, f"{out}.part")
        os.replace(f"{out}.part", out)

    start, saved_at, budget, sums = time.time(), time.time(), float(minutes) * 60, []
    while (seconds := before + time.time() - start) < budget:
        left = 1 - seconds / budget
        scale = min(1, (step + 1) / 30) * min(1, max(0.02, left / 0.6))
        loss, figures = step_loss(model, *data.batch(), generator)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        muon.step(LR_MUON * scale)
        for g in adam.param_groups:
            g["lr"] = LR_ADAM * scale
        adam.step()
        adam.zero_grad(set_to_none=True)
        moe.bias += BIAS_SPEED * torch.sign(moe.load.mean() - moe.load) * scale
        worst = (moe.load.max() / moe.load.mean()).item()
        moe.load.zero_()
        step, sums = step + 1, sums + [figures]
        if len(sums) == 20:
            mean = np.mean(sums, 0)
            print(f"step {step} {seconds:.0f} s loss {' '.join(f'{v:.3f}' for v in mean[:, 0])} reach {' '.join(f'{v:.3f}' for v in mean[:, 1])} "
                  f"load {worst:.2f}", flush=True)
            sums = []
        if time.time() - saved_at > 180:
            save(seconds)
            saved_at = time.time()
    save(budget)


if __name__ == "__main__":
    main(*sys.argv[1:])
