import litellm
from trying import BASE_URL, KEY, MODEL, QUESTION, STORY, URL, Outing, Weather, is_story, run, tries

options = {"model": f"openai/{MODEL}", "api_base": BASE_URL, "api_key": KEY, "num_retries": 0}
messages = [{"role": "user", "content": STORY}]
tools = [{"type": "function", "function": {"name": "get_weather", "parameters": Weather.model_json_schema()}}]


@tries("completion")
def completion():
    answer = litellm.completion(**options, messages=messages, max_tokens=30)
    is_story(answer.choices[0].message.content)


@tries("completion, streamed")
def stream():
    chunks = list(litellm.completion(**options, messages=messages, max_tokens=30, stream=True))
    whole = litellm.stream_chunk_builder(chunks, messages=messages)
    is_story(whole.choices[0].message.content)
    assert len(chunks) > 3


@tries("provider hosted_vllm")
def hosted_vllm():
    answer = litellm.completion(**options | {"model": f"hosted_vllm/{MODEL}"}, messages=messages, max_tokens=30)
    is_story(answer.choices[0].message.content)


@tries("provider anthropic")
def anthropic():
    asked = options | {"model": f"anthropic/{MODEL}", "api_base": URL}
    answer = litellm.completion(**asked, messages=messages, max_tokens=30)
    is_story(answer.choices[0].message.content)


@tries("text_completion")
def text():
    asked = options | {"model": f"text-completion-openai/{MODEL}"}
    is_story(litellm.text_completion(**asked, prompt=STORY, max_tokens=30).choices[0].text)


@tries("tools, whole and streamed")
def tool():
    choice = {"type": "function", "function": {"name": "get_weather"}}
    asked = {"messages": [{"role": "user", "content": QUESTION}], "tools": tools, "tool_choice": choice}
    chunks = list(litellm.completion(**options, **asked, stream=True))
    for answer in (litellm.completion(**options, **asked), litellm.stream_chunk_builder(chunks)):
        (call,) = answer.choices[0].message.tool_calls
        Weather.model_validate_json(call.function.arguments)


@tries("response_format (pydantic)")
def structured():
    answer = litellm.completion(**options, messages=messages, response_format=Outing)
    Outing.model_validate_json(answer.choices[0].message.content)


@tries("responses")
def responses():
    answer = litellm.responses(**options, input=STORY, max_output_tokens=30)
    is_story(answer.output[0].content[0].text)


@tries("errors")
def errors():
    try:
        litellm.completion(**options | {"model": "openai/gpt-0"}, messages=messages)
    except litellm.NotFoundError:
        return
    raise AssertionError("an unknown model was taken")


run("litellm")
