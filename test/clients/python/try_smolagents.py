from smolagents import OpenAIModel, ToolCallingAgent, tool
from smolagents.models import ChatMessage, MessageRole
from trying import BASE_URL, KEY, MODEL, STORY, is_story, run, tries

options = {"model_id": MODEL, "api_base": BASE_URL, "api_key": KEY}
message = ChatMessage(role=MessageRole.USER, content=[{"type": "text", "text": STORY}])


@tool
def get_weather(celsius: bool) -> str:
    """The weather.

    Args:
        celsius: Whether in degrees Celsius.
    """
    return "Rain"


@tries("generate and generate_stream")
def generate():
    model = OpenAIModel(**options, max_tokens=30)
    is_story(model.generate([message]).content)
    is_story("".join(part.content or "" for part in model.generate_stream([message])))


@tries("ToolCallingAgent, one step")
def agent():
    model = OpenAIModel(**options, max_tokens=400, parallel_tool_calls=False)
    one = ToolCallingAgent(tools=[get_weather], model=model, max_steps=1, verbosity_level=0)
    one.run("How is the weather?")
    steps = [step for step in one.memory.steps if getattr(step, "tool_calls", None)]
    assert steps and all(step.error is None for step in steps), one.memory.steps


run("smolagents")
