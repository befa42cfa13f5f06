import dspy
from trying import BASE_URL, KEY, MODEL, STORY, is_story, run, tries

lm = dspy.LM(f"openai/{MODEL}", api_base=BASE_URL, api_key=KEY, cache=False, max_tokens=400, num_retries=0)
dspy.configure(lm=lm)


@tries("LM")
def call():
    (text,) = lm(STORY, max_tokens=30)
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
    # The model cannot follow its marks, whereupon it asks for JSON.
    assert dspy.Predict(Judge)(text=STORY).is_good in (True, False)


run("dspy")
