"""lm-evaluation-harness, on tasks of a few lines that are made here: scoring (echo and logprobs) and generating."""

import json
import math
import os
import tempfile
from pathlib import Path

import lm_eval
from lm_eval.tasks import TaskManager
from trying import BASE_URL, MODEL, run, tries

TOKENIZER = os.environ["SHOAL_TOKENIZER"]
LINES = [
    {"start": "Once upon a time, there was a little", "good": " girl", "bad": " purple of the"},
    {"start": "The dog ran to the", "good": " park", "bad": " was were"},
    {"start": "Mom smiled and said,", "good": ' "I love you."', "bad": " qqqq zzzz"},
]
home = Path(tempfile.mkdtemp(prefix="shoal-lm-eval-"))
(home / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))


def task(name: str, **more: object) -> None:
    data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(home / "lines.jsonl")}}}
    (home / f"{name}.yaml").write_text(json.dumps({"task": name, "test_split": "test", **data, **more}))


accuracy = {"metric": "acc", "aggregation": "mean", "higher_is_better": True}
task(
    "shoal_choice",
    output_type="multiple_choice",
    doc_to_text="{{start}}",
    doc_to_choice="{{[good, bad]}}",
    doc_to_target=0,
    target_delimiter="",
    metric_list=[accuracy],
)
task(
    "shoal_perplexity",
    output_type="loglikelihood_rolling",
    doc_to_text="",
    doc_to_target="{{start + good}}",
    metric_list=[{"metric": "word_perplexity"}],
)
task(
    "shoal_generate",
    output_type="generate_until",
    doc_to_text="{{start}}",
    doc_to_target="{{good}}",
    generation_kwargs={"until": ["."], "max_gen_toks": 16, "do_sample": False},
    metric_list=[{"metric": "exact_match"}],
)
manager = TaskManager(include_path=str(home), include_defaults=False)


def evaluate(kind: str, url: str, name: str, **more: object) -> dict:
    args = {"model": MODEL, "base_url": url, "max_retries": 1, **more}
    options = {"apply_chat_template": True} if kind == "local-chat-completions" else {}
    results = lm_eval.simple_evaluate(
        model=kind, model_args=args, tasks=[name], task_manager=manager, bootstrap_iters=0, log_samples=True, **options
    )
    return {"figures": results["results"][name], "samples": results["samples"][name]}


def completions(name: str, **more: object) -> dict:
    asked = {"tokenizer_backend": "huggingface", "tokenizer": TOKENIZER, **more}
    return evaluate("local-completions", f"{BASE_URL}/completions", name, **asked)


@tries("local-completions, multiple choice (loglikelihood)")
def choice():
    assert completions("shoal_choice")["figures"]["acc,none"] == 1


@tries("local-completions, batches of text instead of token ids")
def texts():
    figures = completions("shoal_choice", tokenized_requests=False, batch_size=4)["figures"]
    assert figures["acc,none"] == 1


@tries("local-completions, perplexity (loglikelihood_rolling)")
def perplexity():
    figures = completions("shoal_perplexity")["figures"]
    assert 1 < figures["word_perplexity,none"] < 1e4 and math.isfinite(figures["word_perplexity,none"])


@tries("local-completions, generate_until")
def generate():
    samples = completions("shoal_generate")["samples"]
    assert all(sample["resps"][0][0].strip() and "." not in sample["resps"][0][0] for sample in samples)


@tries("local-chat-completions, generate_until")
def chat():
    samples = evaluate("local-chat-completions", f"{BASE_URL}/chat/completions", "shoal_generate")["samples"]
    assert all(sample["resps"][0][0].strip() and "." not in sample["resps"][0][0] for sample in samples)


run("lm_eval")
