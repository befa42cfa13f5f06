"""Chat templates of our own, with the turns of phrase that published ones have."""

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

# What the library's own runtime gets wrong: variables that outlive a round, text before `continue`, macros and their scope.
SCOPES = """{%- macro shown(value) -%}[{{ value }}|{{ hidden is defined }}|{{ eos_token }}]{%- endmacro -%}
{%- macro listed(items, open='(', close=')') -%}
    {{- open -}}{%- for item in items -%}{{ caller(item) if caller is defined else item }}{{ ', ' if not loop.last }}{%- endfor -%}{{- close -}}
{%- endmacro -%}
{%- set ns = namespace(calls=0, names=[]) -%}
{%- for m in messages -%}
    {%- set hidden = 'seen' -%}
    {%- if m.role == 'system' -%}system!{%- continue -%}{%- endif -%}
    {%- if m.tool_calls -%}{%- set called = m.tool_calls | length -%}{%- endif -%}
    {{- loop.index ~ m.role ~ (called if called is defined else '-') ~ shown(m.content) -}}
    {%- for call in m.tool_calls -%}
        {%- set ns.calls = ns.calls + 1 -%}
        {%- set ns.names = ns.names + [call.function.name] -%}
        {%- for name, value in call.function.arguments | dictsort -%}
            {{- '<' + name + '>' ~ value ~ '|' ~ value | string -}}
            {%- if value is sequence and value is not string and value is not mapping -%}{{ value | join('/') }}{%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- if loop.index > 6 -%}cut{%- break -%}{%- endif -%}
{%- else -%}nothing{%- endfor -%}
{%- call(item) listed(ns.names) -%}<{{ item }}>{%- endcall -%}
{{- listed(ns.names, close=']') ~ ns.calls -}}
{%- filter upper -%}end {{ 'of' }} it{%- endfilter -%}
"""

# How templates write a tool's schema, with types that may be a list.
SCHEMAS = """{%- macro typed(spec) -%}
    {%- if spec.type is string -%}{{ spec.type }}
    {%- elif spec.type is iterable -%}{{ spec.type | join(' | ') }}
    {%- elif spec.anyOf is defined -%}{%- for one in spec.anyOf -%}{{ typed(one) }}{%- if not loop.last %} or {% endif -%}{%- endfor -%}
    {%- else -%}any{%- endif -%}
    {%- if spec.type in ['array', ['array', 'null']] -%}<{{ typed(spec['items']) if spec['items'] else 'any' }}>{%- endif -%}
{%- endmacro -%}
{%- for tool in tools or [] -%}
    {%- set function = tool.function if tool.function is defined else tool -%}
{{ '// ' + function.description if function.description }}
type {{ function.name }} = (
    {%- for name, spec in (function.parameters.properties or {}).items() %}
  {{ name }}{{ '?' if name not in (function.parameters.required or []) }}: {{ typed(spec) }},
        {%- if spec.default is defined %} // default {{ spec.default }} {{ spec.default | tojson }}{% endif -%}
        {%- if spec.enum %} // {{ spec.enum }} {{ '"%s"' | format(spec.enum | join('", "')) }}{% endif -%}
        {%- for key, value in spec | items if key not in ['type', 'default', 'enum', 'items', 'anyOf', 'properties'] %} // {{ '{}={}'.format(key, value) }}{% endfor -%}
    {%- endfor %}
) {{ function.parameters | tojson(indent=4) | indent(2) }}
{{ function.parameters.get('additionalProperties', 'absent') | string | lower }} {{ tool.strict | default(false) }}
{% endfor -%}
{{- tools | map(attribute='function.name') | list ~ '' if tools }} {{ tools | selectattr('type', 'equalto', 'function') | list | length if tools -}}
{%- for m in messages -%}{{- m.role | title -}}:{{- (m.content or '') | replace('<', '&lt;') | trim -}};{%- endfor -%}"""

TEMPLATES = {
    "thinks": (THINKS, "object"),
    "strings": (STRINGS, "string"),
    "either": (EITHER, "object"),
    "scopes": (SCOPES, "object"),
    "schemas": (SCHEMAS, "object"),
}
