import math

from openai import BadRequestError, OpenAI
from trying import BASE_URL, KEY, run, tries

client = OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)
(MODEL,) = [model.id for model in client.models.list()]
TEXTS = [
    "Mia found a small bird in the snow and carried it home in her scarf.",
    "The bird got well by the warm stove, and Mia let it fly.",
    "Tom and his robot Beep won the race around the pond.",
]


def alike(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


@tries("embeddings of a batch, as Base64")
def batch():
    # What the client asks for by itself, and decodes.
    answer = client.embeddings.create(model=MODEL, input=TEXTS)
    assert [entry.index for entry in answer.data] == [0, 1, 2]
    vectors = [entry.embedding for entry in answer.data]
    assert all(isinstance(v, list) and abs(math.hypot(*v) - 1) < 1e-5 for v in vectors)
    assert alike(vectors[0], vectors[1]) > alike(vectors[1], vectors[2])
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 30


@tries("embeddings as numbers, the same")
def numbers():
    (coded,) = client.embeddings.create(model=MODEL, input=TEXTS[0]).data
    (plain,) = client.embeddings.create(model=MODEL, input=TEXTS[0], encoding_format="float").data
    assert len(coded.embedding) == len(plain.embedding) and alike(coded.embedding, plain.embedding) > 0.99999


@tries("embeddings with fewer dimensions")
def dimensions():
    (whole,) = client.embeddings.create(model=MODEL, input=TEXTS[0]).data
    (short,) = client.embeddings.create(model=MODEL, input=TEXTS[0], dimensions=16).data
    assert len(short.embedding) == 16 and alike(short.embedding, whole.embedding[:16]) > 0.99999
    assert abs(math.hypot(*short.embedding) - 1) < 1e-5


@tries("a refusal that names the parameter")
def refusal():
    try:
        client.embeddings.create(model=MODEL, input=TEXTS[0], dimensions=4096)
    except BadRequestError as error:
        assert error.param == "dimensions", error
    else:
        raise AssertionError("4096 dimensions were not refused")


run("openai")
