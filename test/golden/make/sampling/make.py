"""Makes test/golden/fixtures/sampling.json: logits, parameters, and what other programs' code makes of them.

    python3 -m venv /tmp/sampling && /tmp/sampling/bin/pip install -r test/golden/make/sampling/requirements.txt
    /tmp/sampling/bin/python test/golden/make/sampling/make.py > test/golden/fixtures/sampling.json

Biases, repetition penalty, temperature, min_p, top_k and top_p are transformers' own logits processors, in vLLM's order
(vllm.v1.sample.sampler: logit_bias, penalties, temperature, min_p, top_k, top_p). transformers has no presence and
frequency penalty; theirs is the formula that OpenAI documents and vLLM computes (vllm.model_executor.layers.utils):
logit - frequency * count - presence * (count > 0), over the tokens of the answer only, after the repetition penalty.
"""

import json
import random

import torch
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

NEUTRAL = {
    "bias": {},
    "repetition": 1.0,
    "frequency": 0.0,
    "presence": 0.0,
    "temperature": 1.0,
    "minP": 0.0,
    "topK": 0,
    "topP": 1.0,
}

CASES = {
    "repetition": {"repetition": 1.3},
    "a reward for repetition": {"repetition": 0.8},
    "presence": {"presence": 1.1},
    "frequency": {"frequency": 0.45},
    "negative presence and frequency": {"presence": -0.9, "frequency": -0.35},
    "all penalties": {"repetition": 1.15, "presence": 0.4, "frequency": 0.25},
    "bias": {"bias": {"3": 4.5, "17": -100.0, "20": 0.125}},
    "bias before penalties": {"bias": {"3": 4.5, "5": -2.75, "7": 1.0}, "repetition": 1.4, "presence": 0.3},
    "min_p": {"minP": 0.07},
    "min_p at a high temperature": {"minP": 0.2, "temperature": 1.7},
    "min_p at a low temperature": {"minP": 0.05, "temperature": 0.5},
    "min_p, then top_k and top_p": {"minP": 0.04, "topK": 9, "topP": 0.8, "temperature": 1.2},
    "everything": {
        "bias": {"2": 2.0, "11": -1.5},
        "repetition": 1.2,
        "presence": 0.5,
        "frequency": 0.2,
        "temperature": 0.9,
        "minP": 0.02,
        "topK": 12,
        "topP": 0.9,
    },
}


def count_penalties(scores, answer, frequency, presence):
    counts = torch.bincount(torch.tensor(answer), minlength=scores.shape[-1]).to(torch.float32)
    scores = scores - torch.tensor(frequency, dtype=torch.float32) * counts
    return scores - torch.tensor(presence, dtype=torch.float32) * (counts > 0)


def make(name, changes, seed, vocab):
    rng = random.Random(seed)
    given = {**NEUTRAL, **changes}
    logits = torch.tensor([[rng.gauss(0, 2.5) for _ in range(vocab)]], dtype=torch.float32)
    prompt = [rng.randrange(vocab) for _ in range(12)]
    answer = [rng.randrange(vocab // 2) for _ in range(25)]
    ids = torch.tensor([prompt + answer])
    scores = logits
    if given["bias"]:
        bias = [[[int(token)], value] for token, value in given["bias"].items()]
        scores = SequenceBiasLogitsProcessor(sequence_bias=bias)(ids, scores)
    if given["repetition"] != 1:
        scores = RepetitionPenaltyLogitsProcessor(penalty=given["repetition"])(ids, scores)
    scores = count_penalties(scores, answer, given["frequency"], given["presence"])
    changed = scores
    if given["temperature"] != 1:
        scores = TemperatureLogitsWarper(given["temperature"])(ids, scores)
    if given["minP"]:
        scores = MinPLogitsWarper(min_p=given["minP"])(ids, scores)
    if given["topK"]:
        scores = TopKLogitsWarper(top_k=given["topK"])(ids, scores)
    if given["topP"] < 1:
        scores = TopPLogitsWarper(top_p=given["topP"])(ids, scores)
    probabilities = torch.softmax(scores.to(torch.float64), dim=-1)
    return {
        "name": name,
        "parameters": given,
        "prompt": prompt,
        "answer": answer,
        "logits": logits[0].tolist(),
        "changed": changed[0].tolist(),
        "probabilities": [round(p, 12) for p in probabilities[0].tolist()],
    }


def main():
    cases = [make(name, changes, seed, 37 + seed) for seed, (name, changes) in enumerate(CASES.items())]
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    print(f"[\n{lines}\n]")


if __name__ == "__main__":
    main()
