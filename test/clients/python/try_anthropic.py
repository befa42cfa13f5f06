import anthropic
from anthropic import Anthropic, beta_tool
from trying import KEY, MODEL, QUESTION, STORY, URL, Outing, Weather, is_story, run, tries

client = Anthropic(base_url=URL, api_key=KEY, max_retries=0)
messages = [{"role": "user", "content": STORY}]
tools = [{"name": "get_weather", "description": "The weather", "input_schema": Weather.model_json_schema()}]


@tries("messages")
def create():
    message = client.messages.create(model=MODEL, max_tokens=30, system="Be brief.", messages=messages)
    is_story(message.content[0].text)


@tries("messages, streamed")
def stream():
    with client.messages.stream(model=MODEL, max_tokens=30, messages=messages) as events:
        pieces = list(events.text_stream)
        assert "".join(pieces) == events.get_final_text()
    assert len(pieces) > 3


@tries("tools, two turns")
def tool():
    first = client.messages.create(
        model=MODEL,
        max_tokens=1024,
        messages=messages,
        tools=tools,
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
    )
    (call,) = [block for block in first.content if block.type == "tool_use"]
    Weather.model_validate(call.input)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Rain"}
    second = client.messages.create(
        model=MODEL,
        max_tokens=30,
        tools=tools,
        messages=[
            *messages,
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [result]},
        ],
    )
    assert second.stop_reason in ("max_tokens", "end_turn")


@tries("tool runner")
def tool_runner():
    ran = []

    @beta_tool
    def get_weather(unit: str) -> str:
        """The weather, in a unit.

        Args:
            unit: How to measure.
        """
        ran.append(unit)
        return "Rain"

    runner = client.beta.messages.tool_runner(
        model=MODEL,
        max_tokens=300,
        tools=[get_weather],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        messages=[{"role": "user", "content": QUESTION}],
        max_iterations=2,
    )
    turns = [message.stop_reason for message in runner]
    assert len(turns) == 2 and len(ran) >= 1, (turns, ran)


@tries("parse (pydantic)")
def parse():
    message = client.messages.parse(model=MODEL, max_tokens=1024, messages=messages, output_format=Outing)
    assert isinstance(message.parsed_output, Outing)


@tries("count_tokens")
def count():
    counted = client.messages.count_tokens(model=MODEL, messages=messages, tools=tools)
    message = client.messages.create(model=MODEL, max_tokens=1, messages=messages, tools=tools)
    assert counted.input_tokens == message.usage.input_tokens


@tries("errors")
def errors():
    try:
        client.messages.create(model="claude-0", max_tokens=5, messages=messages)
    except anthropic.NotFoundError as error:
        assert MODEL in str(error)
        return
    raise AssertionError("an unknown model was taken")


run("anthropic")
