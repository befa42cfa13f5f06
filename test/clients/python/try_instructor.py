import instructor
from anthropic import Anthropic
from openai import OpenAI
from trying import BASE_URL, END_OBJECT, KEY, MODEL, QUESTION, URL, Anything, Outing, run, tries

client = OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)
asked = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "max_retries": 1}


def creates(mode: instructor.Mode) -> None:
    one = instructor.from_openai(client, mode=mode)
    assert isinstance(one.chat.completions.create(response_model=Outing, **asked), Outing)


@tries("from_provider")
def provider():
    one = instructor.from_provider(f"openai/{MODEL}", base_url=BASE_URL, api_key=KEY)
    assert isinstance(one.create(response_model=Outing, messages=asked["messages"]), Outing)


@tries("TOOLS")
def tools():
    creates(instructor.Mode.TOOLS)


@tries("TOOLS_STRICT")
def strict():
    creates(instructor.Mode.TOOLS_STRICT)


@tries("JSON_SCHEMA")
def json_schema():
    creates(instructor.Mode.JSON_SCHEMA)


@tries("JSON")
def json():
    one = instructor.from_openai(client, mode=instructor.Mode.JSON)
    answer = one.chat.completions.create(response_model=Anything, logit_bias=END_OBJECT, **asked)
    assert isinstance(answer, Anything)


@tries("TOOLS, streamed in parts")
def partial():
    one = instructor.from_openai(client, mode=instructor.Mode.TOOLS)
    *_, last = one.chat.completions.create_partial(response_model=Outing, **asked)
    Outing.model_validate(last.model_dump())


@tries("RESPONSES_TOOLS")
def responses():
    creates(instructor.Mode.RESPONSES_TOOLS)


@tries("ANTHROPIC_TOOLS")
def anthropic():
    one = instructor.from_anthropic(Anthropic(base_url=URL, api_key=KEY, max_retries=0))
    assert isinstance(one.messages.create(response_model=Outing, max_tokens=300, **asked), Outing)


run("instructor")
