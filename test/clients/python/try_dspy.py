import dspy
from trying import BASE_URL, KEY, MODEL, STORY, is_story, run, tries

# By an alias of the model that dspy knows, since it asks only models that it knows for JSON; others must follow its marks,
# which this model cannot.
options = {"api_base": BASE_URL, "api_key": KEY, "cache": False, "max_tokens": 400, "num_retries": 0}
lm = dspy.LM("openai/gpt-4o", **options)
dspy.configure(lm=lm)


@tries("LM")
def call():
    for one in (lm, dspy.LM(f"openai/{MODEL}", **options)):
        (text,) = one(STORY, max_tokens=30)
        is_story(text)


class Judge(dspy.Signature):
    """Say whether it is good."""

    text: str = dspy.InputField()
    is_good: bool = dspy.OutputField()


@tries("Predict, JSONAdapter")
def predict():
    with dspy.context(adapter=dspy.JSONAdapter()):
        assert dspy.Predict(Judge)(text=STORY).is_good in (True, False)


@tries("Predict, default adapter")
def default_adapter():
    # Where the model doesn't follow its marks, it asks for JSON.
    assert dspy.Predict(Judge)(text=STORY).is_good in (True, False)


run("dspy")
