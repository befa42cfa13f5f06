from pydantic_ai import Agent, NativeOutput, UsageLimits
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from trying import BASE_URL, KEY, MODEL, QUESTION, STORY, Outing, is_story, run, tries

provider = OpenAIProvider(base_url=BASE_URL, api_key=KEY)
chat = OpenAIChatModel(MODEL, provider=provider)
short = {"max_tokens": 30}
limits = UsageLimits(request_limit=3)


@tries("text")
def text():
    is_story(Agent(chat, instructions="Be concise.", model_settings=short).run_sync(STORY).output)


@tries("text, responses API")
def responses():
    is_story(Agent(OpenAIResponsesModel(MODEL, provider=provider), model_settings=short).run_sync(STORY).output)


@tries("text, streamed")
def stream():
    result = Agent(chat, model_settings=short).run_stream_sync(STORY)
    is_story("".join(result.stream_text(delta=True)))


@tries("output_type, by a tool")
def by_tool():
    agent = Agent(chat, output_type=Outing, retries=0)
    assert isinstance(agent.run_sync(QUESTION, usage_limits=limits).output, Outing)


@tries("output_type, native")
def native():
    assert isinstance(Agent(chat, output_type=NativeOutput(Outing), retries=0).run_sync(QUESTION).output, Outing)


@tries("tools (auto)")
def tools():
    agent = Agent(chat, model_settings=short)

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """The weather in a city."""
        return "Rain"

    is_story(agent.run_sync(STORY, usage_limits=limits).output)


run("pydantic-ai-slim")
