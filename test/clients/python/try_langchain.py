from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI
from trying import (
    BASE_URL, END_OBJECT, KEY, MODEL, QUESTION, STORY, URL, Anything, Outing, Weather, is_story, run, tries,
)  # fmt: skip

options = {"model": MODEL, "base_url": BASE_URL, "api_key": KEY, "max_retries": 0}
chat = ChatOpenAI(**options, max_tokens=30)


@tool(args_schema=Weather)
def get_weather(location: str, unit: str) -> str:
    """The weather at a place."""
    return f"Rain in {location}"


@tries("invoke")
def invoke():
    is_story(chat.invoke([("system", "Talk like a pirate."), ("human", STORY)]).text)


@tries("stream")
def stream():
    pieces = [chunk.text for chunk in chat.stream(STORY)]
    is_story("".join(pieces))
    assert len(pieces) > 3


@tries("invoke, responses API")
def responses():
    is_story(ChatOpenAI(**options, max_tokens=30, use_responses_api=True).invoke(STORY).text)


@tries("OpenAI (completions)")
def completions():
    is_story(OpenAI(**options, max_tokens=30).invoke(STORY))


@tries("bind_tools, two turns")
def tools():
    bound = ChatOpenAI(**options).bind_tools([get_weather], tool_choice="any", parallel_tool_calls=False)
    asking = bound.invoke(QUESTION)
    (call,) = asking.tool_calls
    result = get_weather.invoke(call)
    assert result.content.startswith("Rain in ")
    answer = chat.bind_tools([get_weather]).invoke([HumanMessage(QUESTION), asking, result])
    assert answer.usage_metadata["input_tokens"] > asking.usage_metadata["input_tokens"]


@tries("with_structured_output json_schema")
def json_schema():
    assert isinstance(ChatOpenAI(**options).with_structured_output(Outing).invoke(QUESTION), Outing)


@tries("with_structured_output function_calling")
def function_calling():
    structured = ChatOpenAI(**options).with_structured_output(Outing, method="function_calling")
    assert isinstance(structured.invoke(QUESTION), Outing)


@tries("with_structured_output json_mode")
def json_mode():
    structured = ChatOpenAI(**options, logit_bias=END_OBJECT).with_structured_output(Anything, method="json_mode")
    assert structured.invoke(f"{QUESTION} Answer in JSON.") == Anything()


@tries("ChatAnthropic: invoke, tools, structured output")
def anthropic():
    claude = ChatAnthropic(model=MODEL, base_url=URL, api_key=KEY, max_tokens=200, max_retries=0)
    is_story(claude.invoke(STORY).text)
    (call,) = claude.bind_tools([get_weather], tool_choice="get_weather").invoke(QUESTION).tool_calls
    Weather.model_validate(call["args"])
    assert isinstance(claude.with_structured_output(Outing).invoke(QUESTION), Outing)


run("langchain-openai")
