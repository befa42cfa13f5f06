import json

import openai
from openai import OpenAI, pydantic_function_tool
from trying import BASE_URL, KEY, MODEL, QUESTION, STORY, Outing, Weather, is_story, run, tries

client = OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)
messages = [{"role": "user", "content": STORY}]
tools = [pydantic_function_tool(Weather, name="get_weather")]


@tries("models")
def models():
    assert MODEL in [model.id for model in client.models.list()]


@tries("chat")
def chat():
    answer = client.chat.completions.create(model=MODEL, messages=messages, max_completion_tokens=30)
    is_story(answer.choices[0].message.content)


@tries("chat, streamed")
def stream():
    # Without a limit of tokens, at which this helper raises.
    with client.chat.completions.stream(model=MODEL, messages=messages) as events:
        pieces = [event.delta for event in events if event.type == "content.delta"]
        assert "".join(pieces) == events.get_final_completion().choices[0].message.content
    assert len(pieces) > 3


@tries("completions with logprobs")
def completions():
    answer = client.completions.create(model=MODEL, prompt=STORY, max_tokens=30, logprobs=2)
    is_story(answer.choices[0].text)
    assert len(answer.choices[0].logprobs.token_logprobs) == 30


@tries("parse (pydantic)")
def parse():
    answer = client.chat.completions.parse(model=MODEL, messages=messages, response_format=Outing)
    assert isinstance(answer.choices[0].message.parsed, Outing)


@tries("tools, two turns")
def tool():
    first = client.chat.completions.parse(
        model=MODEL, messages=messages, tools=tools, tool_choice="required", parallel_tool_calls=False
    )
    (call,) = first.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Weather)
    result = {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"temperature": 7})}
    second = client.chat.completions.create(
        model=MODEL, messages=[*messages, first.choices[0].message, result], tools=tools, max_completion_tokens=30
    )
    assert second.usage.prompt_tokens > first.usage.prompt_tokens


@tries("tools, streamed")
def tool_stream():
    choice = {"type": "function", "function": {"name": "get_weather"}}
    with client.chat.completions.stream(model=MODEL, messages=messages, tools=tools, tool_choice=choice) as events:
        (call,) = events.get_final_completion().choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Weather)


@tries("responses")
def responses():
    first = client.responses.create(model=MODEL, input=STORY, max_output_tokens=30)
    is_story(first.output_text)
    second = client.responses.create(
        model=MODEL, input="And then", max_output_tokens=30, previous_response_id=first.id
    )
    assert second.usage.input_tokens > first.usage.input_tokens + 30


@tries("responses, streamed")
def responses_stream():
    with client.responses.stream(model=MODEL, input=STORY) as events:
        pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
        assert "".join(pieces) == events.get_final_response().output_text
    assert len(pieces) > 3


@tries("responses, parse")
def responses_parse():
    answer = client.responses.parse(model=MODEL, input=QUESTION, text_format=Outing)
    assert isinstance(answer.output_parsed, Outing)


@tries("responses, tools")
def responses_tools():
    weather = {
        "type": "function",
        "name": "get_weather",
        "description": "The weather at a place",
        "parameters": Weather.model_json_schema() | {"additionalProperties": False},
        "strict": True,
    }
    asked = [{"role": "user", "content": QUESTION}]
    first = client.responses.create(
        model=MODEL, input=asked, tools=[weather], tool_choice="required", parallel_tool_calls=False
    )
    (call,) = [item for item in first.output if item.type == "function_call"]
    Weather.model_validate_json(call.arguments)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain"}
    second = client.responses.create(
        model=MODEL, input=[*asked, *first.output, result], tools=[weather], max_output_tokens=30
    )
    assert second.usage.input_tokens > first.usage.input_tokens


@tries("errors")
def errors():
    try:
        client.chat.completions.create(model=MODEL, messages=messages, temperature=7)
    except openai.BadRequestError as error:
        assert error.param == "temperature"
    try:
        client.chat.completions.create(model="gpt-0", messages=messages)
    except openai.NotFoundError as error:
        assert error.code == "model_not_found"
        return
    raise AssertionError("an unknown model was taken")


run("openai")
