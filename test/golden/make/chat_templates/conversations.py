"""Conversations that every template gets: what people send, and what templates stumble over."""

SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "description": "A <b>city</b> & 'more', été"}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Tells it", "parameters": SCHEMA}}]
RICH = {
    "type": "object",
    "properties": {
        "unit": {"type": ["string", "null"], "enum": ["°C", "°F", None], "default": "°C", "description": "One\nof 'two'"},
        "days": {"type": "integer", "minimum": 0, "maximum": 14, "default": 3},
        "share": {"type": "number", "default": 0.5, "multipleOf": 1e-5},
        "deep": {
            "type": "object",
            "properties": {"on": {"type": "boolean", "default": True}, "l": {"type": "array", "items": {"type": "string"}}},
            "required": ["on"],
            "additionalProperties": False,
        },
        "rows": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}, "maxItems": 3},
        "either": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}], "nullable": True},
        "plain": {},
        "maybe": {"type": ["array", "null"], "items": {"$ref": "#/$defs/one"}},
    },
    "required": ["unit", "deep"],
    "$defs": {"one": {"type": "object", "title": "One"}},
    "additionalProperties": False,
}
RICH_TOOLS = [
    {"type": "function", "function": {"name": "forecast_for", "description": "Says \"when\".\n\nTwo lines.", "parameters": RICH}},
    {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}},
    {"type": "function", "function": {"name": "ns.do-it", "parameters": SCHEMA, "strict": True}},
]


def call(number, name="weather", **arguments):
    return {"id": f"call{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def result(number, content, **more):
    return {"role": "tool", "name": "weather", "tool_call_id": f"call{number}", "content": content, **more}


def said(content, **more):
    return {"role": "assistant", "content": content, **more}


SYSTEM = {"role": "system", "content": "Be kind. "}
USER = {"role": "user", "content": " Rome & <i>Paris</i>? \n"}
AGAIN = {"role": "user", "content": "And now?"}
MIXED = {"city": 'São "Paulo"\n\\', "days": 3, "x": 1.5, "on": True, "off": None, "l": [1, "a"], "o": {"k": "é"}}
NESTED = {
    "matrix": [[1, 2.0], [], [[None, True], {"a": [False, "it's"]}]],
    "empty": {},
    "deep": {"10": {"2": [{"x": -1}], "é": ""}, "1": "one"},
    "text": "<|im_end|> {{ x }} {% if %} \"q\" 'p' </s>",
}
NUMBERS = {
    "one": 1.0,
    "half": 0.5,
    "tiny": 1e-07,
    "small": 0.0001,
    "huge": 1e22,
    "edge": 1e16,
    "big": 2**70,
    "negative": -12345678901234567890,
    "zero": -0.0,
    "third": 1 / 3,
    "int": -7,
    "list": [1.0, 100000000000000.0, 9007199254740993],
}
UNICODE = "e\u0301 \U0001f469\u200d\U0001f4bb \u202eabc\u202c \u4f60\u597d\u3002 \u0627\u0644 \xa0x\u3000 \u2028y \ufeffz \x1f \U0001d54f \xad \x7f"
THOUGHT = "\n  sum \n\n"

CASES = {
    "plain": {"messages": [USER]},
    "system": {"messages": [SYSTEM, USER]},
    "system alone": {"messages": [SYSTEM]},
    "developer": {"messages": [{"role": "developer", "content": "Be brief."}, USER]},
    "two systems": {"messages": [SYSTEM, {"role": "system", "content": "Be brief."}, USER]},
    "turns": {"messages": [USER, said("Hi!"), USER]},
    "many turns": {"messages": [SYSTEM, USER, said(" One. "), AGAIN, said("Two.\n"), USER, said("Three."), AGAIN]},
    "not alternating": {"messages": [USER, USER]},
    "assistant first": {"messages": [said("Hello."), USER]},
    "no prompt": {"messages": [USER, said("Hi!")], "add_generation_prompt": False},
    "empty contents": {"messages": [{"role": "system", "content": ""}, {"role": "user", "content": ""}, said(""), AGAIN]},
    "white space": {"messages": [{"role": "user", "content": " \n\t "}, said("\n\n x \n"), {"role": "user", "content": "\r\n\ny"}]},
    "unicode": {"messages": [{"role": "system", "content": UNICODE}, {"role": "user", "content": UNICODE}, said(UNICODE), AGAIN]},
    "markup": {"messages": [{"role": "user", "content": NESTED["text"]}, said("<think>no</think>\n yes <tool_call>{}</tool_call>"), AGAIN]},
    "tools": {"messages": [USER], "tools": TOOLS},
    "system and tools": {"messages": [SYSTEM, USER], "tools": TOOLS},
    "rich tools": {"messages": [USER], "tools": RICH_TOOLS},
    "tools later": {"messages": [SYSTEM, USER, said("Hm."), AGAIN], "tools": RICH_TOOLS},
    "call": {
        "messages": [USER, said("", tool_calls=[call(1, **MIXED)]), result(1, "20 °C")],
        "tools": TOOLS,
    },
    "null content": {"messages": [SYSTEM, USER, said(None, tool_calls=[call(1, city="Rome")]), result(1, "sun"), said("Sun."), AGAIN], "tools": TOOLS},
    "two calls": {
        "messages": [
            USER,
            said("See.", tool_calls=[call(1, city="Rome"), call(2)]),
            result(1, "sun"),
            result(2, "rain"),
        ],
        "tools": TOOLS,
    },
    "nested arguments": {
        "messages": [USER, said("", tool_calls=[call(1, **NESTED)]), result(1, '{"ok": [true, null, 1.0]}'), said("Done."), AGAIN],
        "tools": TOOLS,
    },
    "numbers": {"messages": [USER, said("", tool_calls=[call(1, **NUMBERS)]), result(1, "1.0")], "tools": TOOLS},
    "other names": {
        "messages": [USER, said("", tool_calls=[call(1, "ns.do-it", city="Ω")]), result(1, "", name="ns.do-it"), AGAIN],
        "tools": RICH_TOOLS,
    },
    "calls without tools": {"messages": [USER, said("", tool_calls=[call(1, city="Rome")]), result(1, "sun")]},
    "call in the end": {
        "messages": [USER, said("I look.", tool_calls=[call(1, city="Rome")])],
        "tools": TOOLS,
        "add_generation_prompt": False,
    },
    "two rounds": {
        "messages": [
            SYSTEM,
            USER,
            said("", reasoning_content="First.", tool_calls=[call(1, city="Rome")]),
            result(1, "sun"),
            said("", reasoning_content="Second.", tool_calls=[call(2, city="Paris")]),
            result(2, "rain"),
            said("Both.", reasoning_content="Third."),
            AGAIN,
            said("", reasoning_content="Fourth.", tool_calls=[call(3, city="Oslo")]),
            result(3, "snow"),
        ],
        "tools": TOOLS,
    },
    "reasoning": {
        "messages": [USER, said("4", reasoning_content=THOUGHT)],
        "add_generation_prompt": False,
    },
    "reasoning before": {"messages": [USER, said("4", reasoning_content=THOUGHT), AGAIN]},
    "reasoning in tags": {"messages": [USER, said("<think>\nsum\n</think>\n\n4"), AGAIN, said("<think>x</think>5")], "add_generation_prompt": False},
    "reasoning alone": {"messages": [USER, said("", reasoning_content="Hm."), AGAIN]},
    "thinking off": {"messages": [USER], "variables": {"enable_thinking": False, "thinking": False}},
    "thinking on": {"messages": [USER], "variables": {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"}},
    "thinking and tools": {
        "messages": [SYSTEM, USER, said("4", reasoning_content=THOUGHT), AGAIN],
        "tools": RICH_TOOLS,
        "variables": {"enable_thinking": True, "thinking": True, "reasoning_effort": "low", "preserve_thinking": True},
    },
    "other variables": {
        "messages": [SYSTEM, USER],
        "tools": TOOLS,
        "variables": {"date_string": "1 May 2026", "tools_in_user_message": False, "thinking_budget": 512, "add_vision_id": True},
    },
}

# What only transformers is given: Shoal's API takes parts apart before a template sees them.
RAW_CASES = {
    "parts": {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": [{"type": "text", "text": "Rome"}, {"type": "text", "text": " now?"}]},
            said([{"type": "text", "text": "Sun."}]),
            AGAIN,
        ]
    },
    "keys absent": {"messages": [{"role": "user"}, {"role": "assistant"}, {"role": "tool", "content": "x"}]},
}
