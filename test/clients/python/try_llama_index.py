from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from trying import BASE_URL, KEY, MODEL, QUESTION, STORY, Outing, Weather, is_story, run, tries

options = {"model": MODEL, "api_base": BASE_URL, "api_key": KEY, "context_window": 8192, "max_retries": 0}
llm = OpenAILike(**options, is_chat_model=True, is_function_calling_model=True, max_tokens=300)


def get_weather(location: str, unit: str) -> str:
    """The weather at a place."""
    return f"Rain in {location}"


weather = FunctionTool.from_defaults(get_weather, fn_schema=Weather)


@tries("complete")
def complete():
    is_story(llm.complete(STORY).text)


@tries("complete, by completions")
def completions():
    is_story(OpenAILike(**options, max_tokens=30).complete(STORY).text)


@tries("chat and stream_chat")
def chat():
    messages = [ChatMessage(role="user", content=STORY)]
    is_story(llm.chat(messages).message.content)
    is_story("".join(part.delta for part in llm.stream_chat(messages)))


@tries("chat_with_tools")
def tools():
    answer = llm.chat_with_tools([weather], user_msg=QUESTION, tool_required=True)
    for call in llm.get_tool_calls_from_response(answer):
        Weather.model_validate(call.tool_kwargs)


@tries("predict_and_call")
def predict_and_call():
    # "auto": the model, which knows no tools, answers in words.
    is_story(str(llm.predict_and_call([weather], STORY, error_on_no_tool_call=False)))


@tries("as_structured_llm, by tools and by response_format")
def structured():
    for native in (False, True):
        one = OpenAILike(
            **options,
            is_chat_model=True,
            is_function_calling_model=True,
            should_use_structured_outputs=native,
            max_tokens=300,
        )
        assert isinstance(one.as_structured_llm(Outing).complete(QUESTION).raw, Outing)


run("llama-index-llms-openai-like")
