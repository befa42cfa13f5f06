import asyncio

from agents import (
    Agent, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool,
)  # fmt: skip
from openai import AsyncOpenAI
from trying import BASE_URL, KEY, MODEL, QUESTION, STORY, Outing, is_story, run, tries



def both():
    """Through /v1/responses, which is the default, and through chat. New each time, since a client stays with its event loop."""
    client = AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)
    return [OpenAIResponsesModel(model=MODEL, openai_client=client), OpenAIChatCompletionsModel(MODEL, client)]


@tries("run, responses and chat")
def text():
    for model in both():
        agent = Agent("Assistant", "You are helpful.", model=model, model_settings=ModelSettings(max_tokens=30))
        is_story(Runner.run_sync(agent, STORY).final_output)


@tries("tools, until the answer")
def tools():
    for model in both():
        ran = []

        @function_tool
        def get_weather(celsius: bool) -> str:
            """The weather."""
            ran.append(celsius)
            return "Rain"

        settings = ModelSettings(tool_choice="required", parallel_tool_calls=False, max_tokens=200)
        agent = Agent("Assistant", "You are helpful.", model=model, tools=[get_weather], model_settings=settings)
        answer = Runner.run_sync(agent, QUESTION, max_turns=3).final_output
        assert isinstance(answer, str) and ran in ([True], [False]), (answer, ran)


@tries("output_type")
def output_type():
    for model in both():
        agent = Agent("Assistant", "You are helpful.", model=model, output_type=Outing)
        assert isinstance(Runner.run_sync(agent, QUESTION).final_output, Outing)


@tries("streamed")
def streamed():
    async def all_text(model) -> str:
        agent = Agent("Assistant", model=model)
        result = Runner.run_streamed(agent, STORY)
        # Without a limit of tokens, at which it raises.
        events = [event async for event in result.stream_events() if event.type == "raw_response_event"]
        return "".join(one.data.delta for one in events if one.data.type == "response.output_text.delta")

    async def run_all() -> None:
        for model in both():
            is_story(await all_text(model))

    asyncio.run(run_all())


run("openai-agents")
