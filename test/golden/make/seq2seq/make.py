"""Small random encoder-decoders with experts, and what transformers computes with them.

usage: make.py OUT_DIR [NAME ...]
Writes OUT_DIR/<name>/ for each model of configs.py: a model directory as it is published (sizes are small, weights bfloat16),
reference.json (texts with the ids that transformers' tokenizers give, greedy answers) and reference.safetensors: the encoder's hidden
states, the experts and weights of its gates, and the decoder's hidden states and logits at every position of targets, which are computed one
token at a time with transformers' cache, as `generate` does. All in float64, but for what transformers computes in float32 in any case.
nllb.py says where transformers is not the reference.

python3 -m venv /tmp/seq2seq && /tmp/seq2seq/bin/pip install -r test/golden/make/seq2seq/requirements.txt
/tmp/seq2seq/bin/python test/golden/make/seq2seq/make.py test/golden/fixtures/seq2seq
"""
import copy, functools, json, math, os, shutil, sys

import torch, transformers
from safetensors.torch import save_file
from transformers import NllbMoeConfig, NllbMoeForConditionalGeneration, SwitchTransformersConfig, SwitchTransformersForConditionalGeneration
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.models.nllb_moe.modeling_nllb_moe import NllbMoeSinusoidalPositionalEmbedding, NllbMoeTop2Router
from transformers.models.switch_transformers.modeling_switch_transformers import SwitchTransformersAttention, SwitchTransformersTop1Router

import nllb
from configs import MODELS, TEXTS
from tokenizers_of import LANGUAGES, nllb_tokenizer, switch_tokenizer

TARGET_TOKENS = 40
ANSWER_TOKENS = 16
# Rounding to f16 doesn't cross those of answers, nor rounding to float32 that of the gates of the tested sources.
LEAST_MARGIN = {"gate": 1e-4, "logit": 2e-3, "tested": 2e-5}
# The last two have distances whose bucket float64 would not find.
BUCKETS = [(8, 20), (32, 128), (20, 160), (92, 164)]
PLACES = [2, 900, 90_000]


def random_weights(model, generator):
    """Weights with which attention, gates, biases and positions all matter; exact in bfloat16."""
    for name, value in model.named_parameters():
        random = torch.randn(value.shape, generator=generator)
        if "relative_attention_bias" in name:
            random *= 1.5
        elif name.endswith("bias"):
            random *= 0.3
        elif "norm" in name:
            random = 1 + 0.2 * random
        elif "shared" in name or "embed" in name:
            # Small against what the layers add, so that answers don't repeat the token before.
            random *= 0.3 / math.sqrt(value.shape[-1]) if getattr(model.config, "scale_embedding", False) else 0.3
        else:
            # T5 doesn't scale the scores.
            unscaled = ".q.weight" in name
            random *= (2.5 if "router" in name else 1.5) / math.sqrt(value.shape[-1]) * (0.5 if unscaled else 1)
        value.data = random.to(torch.bfloat16).to(torch.float32)
    model.tie_weights()


class Gates:
    """Listens to the gates: kept experts of each row, ascending, -1 for each dropped one; weights; the least margin of a choice."""

    def __init__(self, model, config):
        self.token_dropout = getattr(model.config, "moe_token_dropout", 0)
        self.reset()
        for module in model.encoder.modules() if hasattr(model, "encoder") else model.model.encoder.modules():
            if isinstance(module, (SwitchTransformersTop1Router, NllbMoeTop2Router)):
                module.register_forward_hook(lambda module, _, result: self.switch(result) if config["family"] == "switch" else self.nllb(module, result))
        for module in model.modules():
            if isinstance(module, (SwitchTransformersTop1Router, NllbMoeTop2Router)):
                module.register_forward_hook(lambda module, _, result: self.measure(result[2].reshape(-1, result[2].shape[-1]), 1 if config["family"] == "switch" else 2, module))

    def measure(self, logits, k, module):
        probabilities = logits.softmax(-1)
        ordered = probabilities.sort(descending=True).values
        self.margin = min(self.margin, *(float((ordered[:, i] - ordered[:, i + 1]).min()) for i in range(k)))
        if getattr(module, "batch_prioritized_routing", False):
            self.measure_places(ordered[:, 0], logits.topk(2, dim=-1).indices, module)

    def measure_places(self, importance, chosen, module):
        """By how much the row that gets an expert's last place is surer than the first that gets none."""
        for expert in range(module.num_experts):
            places = module.expert_capacity
            for choice in (0, 1):
                rows = importance[chosen[:, choice] == expert].sort(descending=True).values
                if 0 < places < len(rows):
                    self.margin = min(self.margin, float(rows[places - 1] - rows[places]))
                places -= len(rows)

    def switch(self, result):
        chosen, probability, _ = result
        kept = chosen[0].sum(-1) > 0
        experts = torch.where(kept, chosen[0].argmax(-1), -1)
        self.dropped += int((~kept).sum())
        self.calls.append((experts[:, None], torch.where(kept, probability[0, :, 0], 0)[:, None]))

    def nllb(self, module, result):
        _, weights, logits = result
        two = logits.topk(2, dim=-1).indices.sort(-1).values
        own = weights.gather(1, two)
        self.dropped += int((own == 0).sum())
        self.calls.append((torch.where(own > 0, two, -1), own * (1 - self.token_dropout)))

    def reset(self):
        self.calls, self.margin, self.dropped = [], math.inf, 0

    def take(self):
        """[layers, rows, k] of the last source."""
        calls, self.calls = self.calls, []
        return torch.stack([c[0] for c in calls]), torch.stack([c[1] for c in calls])


def new_cache():
    """transformers' own has as many layers as the encoder, and the decoder may have more."""
    return EncoderDecoderCache(DynamicCache(), DynamicCache())


def decode(model, source, target):
    """Hidden states and logits of a target's tokens, one at a time."""
    encoder_outputs = model.get_encoder()(input_ids=torch.tensor([source]))
    cache, hidden, logits = new_cache(), [], []
    for token in target:
        out = model(encoder_outputs=encoder_outputs, decoder_input_ids=torch.tensor([[token]]), cache=cache, use_cache=True, output_hidden_states=True)
        hidden.append(out.decoder_hidden_states[-1][0, 0])
        logits.append(out.logits[0, 0])
    return encoder_outputs.last_hidden_state[0], torch.stack(hidden), torch.stack(logits)


def check_groups(model, family, source):
    """Whose capacity it is: Switch counts each sequence by itself, NLLB all rows of a batch together. In the decoder, where it is given one token
    at a time, nothing is dropped."""
    other = list(reversed(source))
    run = lambda batch: model.get_encoder()(input_ids=torch.tensor(batch), attention_mask=torch.ones(len(batch), len(source))).last_hidden_state[0]
    alone, together = run([source]), run([source, other])
    error = float(((alone - together) ** 2).mean() / (alone**2).mean())
    assert (error < 1e-12) == (family == "switch"), error


def greedy(model, source, **options):
    out = model.generate(torch.tensor([source]), max_new_tokens=ANSWER_TOKENS, do_sample=False, num_beams=1, cache=new_cache(), output_scores=True, return_dict_in_generate=True, **options)
    margins = [float(s[0].topk(2).values.diff().abs()) for s in out.scores if torch.isfinite(s[0]).all()]
    return out.sequences[0].tolist(), min(margins)


@functools.cache
def tokenizer_of(is_switch):
    return switch_tokenizer() if is_switch else nllb_tokenizer()


def attempt(name, seed, folder):
    about = MODELS[name]
    is_switch = about["family"] == "switch"
    tokenizer = tokenizer_of(is_switch)
    # Larger than the tokenizer's, for alignment.
    keys = about["keys"] | {"vocab_size": -(-len(tokenizer) // 16) * 16}
    config = (SwitchTransformersConfig if is_switch else NllbMoeConfig)(**keys)
    model = (SwitchTransformersForConditionalGeneration if is_switch else NllbMoeForConditionalGeneration)(config)
    generator = torch.Generator().manual_seed(seed)
    random_weights(model, generator)
    shutil.rmtree(folder, ignore_errors=True)
    # A copy, since the table of sinusoids is float32 and would lose its digits.
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model = model.to(torch.float64).eval()
    model.set_attn_implementation("eager")
    sources = [tokenizer(text).input_ids for text in TEXTS]
    draw = lambda count: torch.randint(3, len(tokenizer), (count,), generator=generator).tolist()
    tested = [sources[0], draw(70), sources[1], sources[2]]
    start = config.decoder_start_token_id
    targets = [[start, *draw(count - 1)] for count in (TARGET_TOKENS, 9, 20, 3)]
    gates = Gates(model, about)
    if not is_switch:
        run = lambda m: m(input_ids=torch.tensor([tested[0]]), decoder_input_ids=torch.tensor([targets[0]])).logits
        dispatch_error = nllb.check_against_transformers(model, run)
    options = {} if is_switch else {"forced_bos_token_id": tokenizer.convert_tokens_to_ids("fra_Latn")}
    answers = []
    for source in [*tested[:3], *(draw(8 + i % 30) for i in range(60))]:
        gates.reset()
        ids, margin = greedy(model, source, **options)
        if margin >= LEAST_MARGIN["logit"] and gates.margin >= LEAST_MARGIN["gate"] and len(set(ids)) >= 5:
            answers.append({"source": source, "ids": ids, "logit_margin": margin, "gate_margin": gates.margin})
        if len(answers) == 3:
            break
    print(name, seed, len(answers), "answers", len(set(ids)), margin, gates.margin, flush=True)
    if len(answers) < 3:
        return False
    check_groups(model, about["family"], tested[1])
    gates.reset()
    results = {"encoder": [], "experts": [], "weights": [], "hidden": [], "logits": []}
    for source, target in zip(tested, targets):
        encoded, hidden, logits = decode(model, source, target)
        experts, weights = gates.take()
        for key, value in zip(results, (encoded, experts, weights, hidden, logits)):
            results[key].append(value)
    dropped = gates.dropped
    print("dropped", dropped, "margin", gates.margin)
    if dropped < 8 or gates.margin < LEAST_MARGIN["tested"]:
        return False
    tensors = {key: torch.cat(parts, dim=1 if key in ("experts", "weights") else 0).to(torch.float32).contiguous() for key, parts in results.items()}
    save_file(tensors, os.path.join(folder, "reference.safetensors"))
    write_json(folder, about, dict(
        about=about["about"], versions=f"torch {torch.__version__}, transformers {transformers.__version__}", seed=seed, dropped=dropped,
        **({} if is_switch else {"departures": ["NllbMoeSparseMLP's dispatch (nllb.py)"], "dispatch_error": dispatch_error}),
        sources=tested, targets=targets, greedy=answers, gate_margin=gates.margin, **tokens_of(tokenizer, is_switch),
        **({"buckets": buckets()} if is_switch else {"sinusoids": sinusoids(config.d_model)}),
    ))
    return True


def tokens_of(tokenizer, is_switch):
    texts = [{"text": text, "ids": tokenizer(text).input_ids, "decoded": tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True)} for text in TEXTS]
    if is_switch:
        return {"texts": texts}
    translated = []
    for language in LANGUAGES:
        tokenizer.src_lang = language
        translated.append({"language": language, "text": TEXTS[0][:60], "ids": tokenizer(TEXTS[0][:60]).input_ids})
    return {"texts": texts, "translated": translated}


def buckets():
    """transformers' buckets of distances, [numbers, ways, distances -400 .. 400]: the encoder's and the decoder's."""
    distances = torch.arange(-400, 401)
    rows = []
    for count, longest in BUCKETS:
        for both in (True, False):
            found = SwitchTransformersAttention._relative_position_bucket(distances, bidirectional=both, num_buckets=count, max_distance=longest)
            rows.append({"buckets": count, "maxDistance": longest, "bothWays": both, "of": run_lengths(found.tolist())})
    return rows


def sinusoids(width):
    table = NllbMoeSinusoidalPositionalEmbedding.get_embedding(max(PLACES) + 1, width, 1)
    return [{"place": place, "values": table[place].tolist()} for place in PLACES]


def run_lengths(values):
    runs = []
    for value in values:
        if runs and runs[-1][0] == value:
            runs[-1][1] += 1
        else:
            runs.append([value, 1])
    return runs


def write_json(folder, about, reference):
    json.dump(reference, open(os.path.join(folder, "reference.json"), "w"))
    published = about.get("published")
    if not published:
        return
    path = os.path.join(folder, "config.json")
    config = json.load(open(path)) | published["add"]
    json.dump({key: config[key] for key in sorted(config) if key not in published["remove"]}, open(path, "w"), indent=2)


@torch.no_grad()
def main(out, *names):
    torch.set_num_threads(1)
    original = nllb.nllb.NllbMoeSparseMLP.forward
    for name in names or MODELS:
        folder = os.path.join(out, name)
        for seed in range(200):
            nllb.nllb.NllbMoeSparseMLP.forward = original
            if attempt(name, 1500 + seed, folder):
                break
        else:
            raise SystemExit(f"{name}: no seed has enough margin")


main(*sys.argv[1:])
