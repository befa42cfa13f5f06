"""Makes test/golden/fixtures/chat-templates.json: what transformers renders with templates of our own.

    python3 -m venv venv && venv/bin/pip install transformers==5.24.0 jinja2==3.1.6
    venv/bin/python test/golden/make/chat_templates.py > test/golden/fixtures/chat-templates.json

The templates are written for this purpose, with the turns of phrase that published ones have. Each of them gets every
conversation, with arguments in the form that it wants; an error of transformers' is recorded as null.
"""

import copy
import json

from transformers.utils.chat_template_utils import _compile_jinja_template

THINKS = """{%- macro text_of(content) -%}
    {%- if content is string -%}{{ content }}{%- elif content is none or content is undefined -%}{{ '' }}
    {%- elif content is iterable and content is not mapping -%}
        {%- for part in content -%}{{ part.text }}{%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- set ns = namespace(last=-1) -%}
{%- for m in messages -%}{%- if m.role == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}{%- endfor -%}
{{- bos_token -}}
{%- if tools and tools is iterable and tools is not mapping -%}
{{- '[tools]\\n' -}}
{%- for tool in tools -%}{{- tool | tojson -}}{{- '\\n' -}}{%- endfor -%}
{{- '[/tools]\\n' -}}
{%- endif -%}
{%- for m in messages -%}
    {%- set content = text_of(m.content) | trim -%}
    {%- if m.role == 'assistant' -%}
        {%- set thought = '' -%}
        {%- if m.reasoning_content is string -%}{%- set thought = m.reasoning_content.strip('\\n') -%}{%- endif -%}
        {{- '<a>\\n' -}}
        {%- if loop.index0 > ns.last and thought -%}{{- '<think>\\n' + thought + '\\n</think>\\n\\n' -}}{%- endif -%}
        {% generation %}{{- content -}}{% endgeneration %}
        {%- for call in m.tool_calls or [] -%}
            {{- '\\n<call>\\n<f=' ~ call.function.name ~ '>\\n' -}}
            {%- for key, value in call.function.arguments | items -%}
                {{- '<p=' + key + '>\\n' -}}
                {%- set value = value | tojson if value is mapping or (value is sequence and value is not string) else value | string -%}
                {{- value -}}{{- '\\n</p>\\n' -}}
            {%- endfor -%}
            {{- '</f>\\n</call>' -}}
        {%- endfor -%}
        {{- '<e>\\n' -}}
    {%- elif m.role == 'tool' -%}
        {%- if loop.previtem and loop.previtem.role != 'tool' -%}{{- '<r>' -}}{%- endif -%}
        {{- '\\n<result>' ~ m.name ~ m.tool_call_id ~ '>' ~ content -}}
        {%- if loop.last or loop.nextitem.role != 'tool' -%}{{- '<e>\\n' -}}{%- endif -%}
    {%- else -%}
        {{- '<' + m.role[0] + '>\\n' + content + '<e>\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<a>\\n' -}}
    {%- if enable_thinking is defined and enable_thinking is false -%}{{- '<think>\\n\\n</think>\\n\\n' -}}
    {%- else -%}{{- '<think>\\n' -}}{%- endif -%}
{%- endif -%}
"""

STRINGS = """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}
{%- set open, close = '<{}open>'.format(eos_token), '<{}close{}>'.format('a', 'b') %}
{%- for m in messages %}
{%- if m['role'] == 'assistant' and 'tool_calls' in m %}
{%- for call in m['tool_calls'] %}
{{- open + call['type'] + '|' + call['function']['name'] + '\\n```json\\n' + call['function']['arguments'] + '\\n```' + close }}
{%- endfor %}
{%- elif m['role'] == 'tool' %}{{ '<out>' + m['content'] + '</out>' }}
{%- else %}{{ '<' + m['role'] + '>' + m['content'] }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"""

EITHER = """{%- if tools is not none %}{{ tools | tojson(indent=2) }}
{{ tools | tojson(ensure_ascii=True, separators=(',', ':')) }}
{%- endif %}
{%- if not tools is defined or documents is not none %}{{ raise_exception('never') }}{% endif %}
{%- if messages[0].role == 'system' %}{%- set system, rest = messages[0].content, messages[1:] %}
{%- else %}{%- set system, rest = 'none', messages %}{%- endif %}
{{ 'system: ' + system.rstrip() + '\\n' }}
{%- for m in rest %}
    {%- if m.role == 'user' and (loop.index0 % 2 == 1) and not tools %}{{ raise_exception('turns must alternate') }}{% endif %}
    {{- m.role.upper() ~ ': ' ~ m.content ~ '\\n' }}
    {%- for call in m.tool_calls or [] %}
        {{- '[' ~ loop.index ~ '/' ~ loop.length ~ '] ' ~ call.function.name ~ ' ' }}
        {%- if call.function.arguments is string %}{{ call.function.arguments }}{% else %}{{ call.function.arguments | tojson(sort_keys=true) }}{% endif %}
        {{- '\\n' }}
    {%- endfor %}
{%- endfor %}
{{- 'effort: ' ~ (reasoning_effort if reasoning_effort is defined else none) ~ ' ' ~ (2 > 1) ~ '\\n' }}
{%- if add_generation_prompt %}ASSISTANT:{% endif %}"""

TEMPLATES = {"thinks": (THINKS, "object"), "strings": (STRINGS, "string"), "either": (EITHER, "object")}

SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "description": "A <b>city</b> & 'more', été"}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Tells it", "parameters": SCHEMA}}]


def call(number, **arguments):
    return {"id": f"call{number}", "type": "function", "function": {"name": "weather", "arguments": arguments}}


def result(number, content):
    return {"role": "tool", "name": "weather", "tool_call_id": f"call{number}", "content": content}


USER = {"role": "user", "content": " Rome & <i>Paris</i>? \n"}
MIXED = {"city": 'São "Paulo"\n\\', "days": 3, "x": 1.5, "on": True, "off": None, "l": [1, "a"], "o": {"k": "é"}}
CASES = {
    "plain": {"messages": [USER]},
    "system": {"messages": [{"role": "system", "content": "Be kind. "}, USER]},
    "turns": {"messages": [USER, {"role": "assistant", "content": "Hi!"}, USER]},
    "not alternating": {"messages": [USER, USER]},
    "no prompt": {"messages": [USER, {"role": "assistant", "content": "Hi!"}], "add_generation_prompt": False},
    "tools": {"messages": [USER], "tools": TOOLS},
    "call": {
        "messages": [USER, {"role": "assistant", "content": "", "tool_calls": [call(1, **MIXED)]}, result(1, "20 °C")],
        "tools": TOOLS,
    },
    "two calls": {
        "messages": [
            USER,
            {"role": "assistant", "content": "See.", "tool_calls": [call(1, city="Rome"), call(2)]},
            result(1, "sun"),
            result(2, "rain"),
        ],
        "tools": TOOLS,
    },
    "reasoning": {
        "messages": [USER, {"role": "assistant", "content": "4", "reasoning_content": "\n  sum \n\n"}],
        "add_generation_prompt": False,
    },
    "thinking off": {"messages": [USER], "variables": {"enable_thinking": False}},
    "thinking on": {"messages": [USER], "variables": {"enable_thinking": True, "reasoning_effort": "high"}},
}


def render(template, form, case):
    messages = copy.deepcopy(case["messages"])
    for message in messages:
        for one in message.get("tool_calls", []):
            if form == "string":
                one["function"]["arguments"] = json.dumps(one["function"]["arguments"], ensure_ascii=False)
    try:
        return template.render(
            messages=messages,
            tools=case.get("tools"),
            documents=None,
            add_generation_prompt=case.get("add_generation_prompt", True),
            bos_token="<s>",
            eos_token="</s>",
            **case.get("variables", {}),
        )
    except Exception:
        return None


def main():
    templates = {}
    for name, (source, form) in TEMPLATES.items():
        compiled = _compile_jinja_template(source)
        rendered = {case: render(compiled, form, value) for case, value in CASES.items()}
        templates[name] = {"source": source, "argumentsAs": form, "rendered": rendered}
    for case in CASES.values():
        for message in case["messages"]:
            for one in message.get("tool_calls", []):
                one["function"]["arguments"] = json.dumps(one["function"]["arguments"], ensure_ascii=False)
    print(json.dumps({"templates": templates, "cases": CASES}, ensure_ascii=False, indent=1))


main()
