"""Expressions in which the library's runtime, JavaScript and Python could differ, each a template of its own."""

VALUES = {
    "t": True,
    "n": None,
    "i": 7,
    "f": 1.0,
    "big": 2**64 + 1,
    "e": 1e-7,
    "s": " Straße é\U0001f600 \n",
    "l": [1, "a", None, [2.5, True], {"k": "it's"}],
    "d": {"b": 1, "a": [1], "items": "mine", "C": "x"},
    "schema": {"type": ["string", "null"], "properties": {"a": {"type": "integer"}, "b": {}}},
    "rows": [{"k": "b", "v": 2, "o": {"z": 1}}, {"k": "A", "v": 1, "o": {"z": 3}}, {"k": "c", "o": {}}],
    "empty": [],
    "nothing": {},
    "q": "it's \"so\"\\ \x00\x1f\x85\u2028",
    "words": "one  two\tthree\nfour",
}

# One a line; ⏎ is a line end inside one.
SNIPPETS = r"""
{{ t }} {{ n }} {{ i }} {{ f }} {{ big }} {{ e }} {{ l }} {{ d }} {{ s }}
{{ t | string }}|{{ n | string }}|{{ f | string }}|{{ l | string }}|{{ d | string }}|{{ missing | string }}|
{{ t ~ n ~ f ~ l ~ missing }}
{{ 'a' + f }}
{{ 'a' + n }}
{{ 'a' + i | string }}
{{ missing + 'a' }}
{{ missing.attribute }}
{{ d.absent.deeper }}
{{ n.attribute is defined }} {{ i.x is defined }}
{{ '{} and {!r} {{}} {}'.format(n, 'x', l) }}
{{ '{0}{1}{0} {name:>6}|{k:<4}|{k:^5}|{x:05.2f}|{y:,}|{y:x}'.format('a', f, name='b', k='c', x=1.005, y=1234567) }}
{{ '{}'.format() }}
{{ '%s is %d of %5.1f%% %r' % ('x', 3, 2.26, 'q') }}
{{ '%s' | format(l) }} {{ '%(a)s' | format(a=1) }}
{{ {1: 'one', 2.5: 'two', none: 'no'} }} {{ {1: 'a'}[1] }} {{ {1: 'a'} | tojson }}
{{ {'a': 1}.get(1) }} {{ {1: 2}.get(1, 3) }} {{ {1: 2} == {1.0: 2.0} }}
{{ 1 == 1.0 }} {{ 1 == true }} {{ '1' == 1 }} {{ [1, [2]] == [1.0, [2]] }} {{ (1, 2) == [1, 2] }} {{ n == missing }} {{ missing == absent }}
{{ [1] in [[1], 2] }} {{ schema.type in [['string', 'null']] }} {{ 'null' in schema.type }} {{ {'a': 1} in [{'a': 1}] }} {{ 1.0 in [1] }}
{{ n in ['a', none] }} {{ 'a' in d }} {{ 1 in d }} {{ 'x' in missing }} {{ 'x' not in l }}
{{ [1] in d }}
{{ 1 in 'abc' }}
{{ 'a' in n }}
{{ 7 / 2 }} {{ 6 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 % 2 }} {{ 2 ** 70 }} {{ 2 ** -1 }} {{ big * 2 - 1 }} {{ 1 + 1.0 }} {{ true + 1 }}
{{ 9007199254740993 + 0 if false else i * 1000000007 * 1000000007 }}
{{ 1 / 0 }}
{{ 'ab' * 3 }} {{ [1] * 2 }} {{ (1, 3) + (2, 4) }} {{ [1] + [2.0] }}
{{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 1 < 1.5 }}
{{ 'a' < 1 }}
{{ missing < 1 }}
{{ -f }} {{ +i }} {{ -t }}
{{ i is divisibleby(7) }}{{ i is divisibleby 2 }}{{ i is not divisibleby(2) }} {{ 'a' is in ['a', 'b'] }} {{ i is eq 7 and f is ne i }} {{ s is sameas s }} {{ i is gt(3) or false }} {{ rows[0].k is eq rows[1].k }} {{ d is mapping ~ '' }}
{{ i is number }}{{ t is number }}{{ f is float }}{{ i is integer }}{{ t is integer }}{{ n is none }}{{ l is sequence }}{{ d is sequence }}{{ d is mapping }}{{ s is sequence }}
{{ missing is iterable }}{{ missing is sequence }}{{ missing is mapping }}{{ missing is string }}{{ missing is none }}{{ missing is undefined }}{{ d.items() is sequence }}{{ d.items() is iterable }}{{ i is iterable }}
{{ t is true }}{{ 1 is true }}{{ t is boolean }}{{ i is odd }}{{ i is even }}{{ range is callable }}{{ 'ab' is lower }}{{ 'AB' is upper }}{{ '' is lower }}
{{ l | tojson }} {{ d | tojson(indent=2) }} {{ f | tojson }} {{ e | tojson }} {{ big | tojson }} {{ q | tojson }} {{ s | tojson(ensure_ascii=true) }}
{{ d | tojson(sort_keys=true, separators=(',', ':')) }} {{ nothing | tojson(indent=2) }} {{ [[], {}] | tojson(indent=1) }} {{ (1, 2) | tojson }}
{{ d | tojson(indent=2, separators=(' ;', ' = ')) }} {{ l | tojson(false, 1) }}
{{ missing | tojson }}
{{ d.items() | tojson }}
{{ d.items() | list | tojson }} {{ d['items'] }} {{ d.keys() | list }} {{ d.values() | list }}
{{ d.items() }} {{ d.keys() }} {{ d.get('a') }} {{ d.get('z') }} {{ d.get('z', 3) }} {{ d.a }} {{ d['C'] }} {{ d.copy() == d }}
{{ d | items | list }} {{ missing | items | list }} {{ d | dictsort }} {{ d | dictsort(case_sensitive=true, reverse=true) }} {{ {'x': 2, 'y': 1} | dictsort(by='value') }}
{{ n | items | list }}
{{ l | length }} {{ s | length }} {{ d | length }} {{ missing | length }} {{ d.items() | length }} {{ s | count }}
{{ n | length }}
{{ i | length }}
{{ l | map('string') | length }}
{{ l | map('string') | list }} {{ rows | map(attribute='k') | list }} {{ rows | map(attribute='o.z', default=0) | list }} {{ rows | map(attribute='v') | list }} {{ 'ab' | map('upper') | join('-') }}
{{ 'yes' if empty | map('upper') else 'no' }} {{ 'yes' if empty else 'no' }} {{ 'yes' if nothing.items() else 'no' }} {{ rows | map(attribute='k') is iterable }}
{{ rows | selectattr('v') | map(attribute='k') | list }} {{ rows | selectattr('v', 'defined') | list | length }} {{ rows | rejectattr('k', 'equalto', 'b') | list | length }} {{ rows[:2] | selectattr('v', 'gt', 1) | list | length }}
{{ n | selectattr('a') | list }}{{ n | map('upper') | list }}{{ false | reject | list }} {{ [1, 2, 3] | select('odd') | list }} {{ [0, 1, '', n] | select | list }} {{ [1, none] | reject('none') | list }} {{ ['a', 'b'] | select('in', ['b']) | list }}
{{ rows | sort(attribute='k') | map(attribute='k') | list }} {{ ['b', 'A', 'c'] | sort }} {{ ['b', 'A', 'c'] | sort(case_sensitive=true, reverse=true) }} {{ [3, 1.5, 2] | sort }}
{{ [1, 'a'] | sort }}
{{ [1, 1.0, 'a', 'A', 'b'] | unique | list }} {{ [3, 1] | min }} {{ [3, 1] | max }} {{ [1, 2.5] | sum }} {{ [] | sum }} {{ rows[:2] | sum(attribute='v') }}
{{ l | first }} {{ l | last }} {{ d | first }} {{ 'xyz' | last }} {{ [] | first is defined }} {{ [] | first }}
{{ l | join('+') }} {{ rows | join(',', attribute='k') }} {{ 'abc' | join('.') }} {{ missing | join(',') }} {{ d | join }}
{{ [1, 2, 3] | reverse | list }} {{ 'abc' | reverse }} {{ 'abc' | list }} {{ missing | list }} {{ 'aé😀' | list }}
{{ '3.7' | int }} {{ 'x' | int(9) }} {{ ' 12 ' | int }} {{ 3.9 | int }} {{ t | int }} {{ '1_000' | int }} {{ n | int }} {{ -3.9 | int }} {{ '1.5' | float }} {{ 'x' | float }} {{ i | float }} {{ 'x' | float(2) }}
{{ 2.5 | round }} {{ 3.5 | round }} {{ 2.567 | round(2) }} {{ 2.1 | round(method='ceil') }} {{ -3 | abs }} {{ -2.5 | abs }}
{{ s | trim }}|{{ 'xxaxx' | trim('x') }}|{{ n | trim }}|{{ i | trim }}|{{ s | upper }}|{{ 'ÀB' | lower }}|{{ 'hELLO wORLD' | capitalize }}|{{ "it's a-test (now)" | title }}|{{ n | upper }}
{{ 'a b' | replace(' ', '_') }} {{ 'aaa' | replace('a', 'b', 2) }} {{ i | replace('7', 'x') }} {{ 'ab' | replace('', '-') }}
{{ 'a\n\nb' | indent }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb' | indent(2, blank=true) }}|{{ 'a\nb' | indent('> ') }}|{{ 'a\n' | indent }}|
{{ missing | default('x') }} {{ n | default('x') }} {{ '' | default('x', true) }} {{ n | default('x', boolean=true) }} {{ missing | d }} {{ 0 | default(1, true) }}
{{ l | wordcount if false else 'a b-c' | wordcount }} {{ d.items is callable }} {{ 'x' | attr('nope') is defined }}
{{ rows | groupby('k') | length if false else [{'a': 1}, {'a': 2}, {'a': 1}] | groupby('a') | map('list') | list }}
{{ l | nosuchfilter }}
{{ l is nosuchtest }}
{{ s.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'xay'.lstrip('yx') }}|{{ 'xay'.rstrip('yx') }}|{{ s.lstrip() }}|{{ s.rstrip() }}|{{ '\x1c a\x85'.strip() }}|{{ '\ufeffa'.strip() == 'a' }}
{{ words.split() }} {{ words.split(' ') }} {{ words.split(none, 1) }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ 'a,b,c'.split(',')[-1] }} {{ ''.split() }} {{ ''.split(',') }} {{ ' a b '.rsplit(none, 1) }}
{{ 'a'.split('') }}
{{ 'a\nb\r\nc\n'.splitlines() }} {{ 'a\nb'.splitlines(true) }} {{ ''.splitlines() }}
{{ 'abc'.startswith('a') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('bc') }} {{ 'aXbX'.replace('X', '-', 1) }} {{ 'ab'.replace('', '.') }}
{{ 'hello'.find('l') }} {{ 'hello'.rfind('l') }} {{ 'hello'.find('z') }} {{ 'é😀b'.find('b') }} {{ 'hello'.count('l') }} {{ 'hello'.index('e') }}
{{ 'hello'.index('z') }}
{{ 'hello wORLD'.title() }} {{ 'hELLO'.capitalize() }} {{ 'a'.upper() }} {{ 'A'.lower() }} {{ "it's".title() }} {{ 'aB'.swapcase() }} {{ 'x'.casefold() }}
{{ ', '.join(['a', 'b']) }} {{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('bc') }} {{ 'a-b-c'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'a'.ljust(3, '.') }}{{ 'a'.rjust(3) }}{{ 'ab'.center(5, '*') }}{{ '-7'.zfill(4) }}
{{ ', '.join([1]) }}
{{ '12'.isdigit() }}{{ 'a1'.isalnum() }}{{ 'a1'.isalpha() }}{{ ' '.isspace() }}{{ 'A'.isupper() }}{{ 'a'.islower() }}{{ ''.isdigit() }}{{ '½'.isnumeric() }}
{{ s[1] }}{{ s[-3] }} {{ s[1:4] }} {{ s[::-1] }} {{ l[1:] }} {{ l[-2:] }} {{ l[::2] }} {{ l[::-1] }} {{ l[5:] }} {{ l[-100:2] }} {{ (1, 2, 3)[1:] }} {{ 'é😀b'[1] }} {{ l[9] is defined }} {{ l.0 }}
{{ d[1:] }}
{{ q }} {{ [q] }} {{ ['\n\t\r', "'", '"', '\'"'] }} {{ [s] }} {{ ['\xa0\xad\u200b\ud7ff\ue000'] }}
{{ (1, 'a') }} {{ [(1, 2)] }} {{ {'a': (1, none)} }} {{ d.items() | first }}
{{ l.index('a') }} {{ l.count(1) }} {{ l.copy() == l }}
{{ l.append(1) }}
{{ d.update({}) }}
{{ d.pop('a') }}
{{ d.append is defined }} {{ l.nope is defined }}
{{ namespace(a=1).a }} {{ namespace({'b': 2}).b }} {{ namespace().c is defined }} {{ dict(a=1, b=[2]) }} {{ dict([('x', 1)]) }}
{{ range(3) | list }} {{ range(1, 7, 2) | list }} {{ range(3, 0, -1) | list }}
{{ range(1000000) | list | length }}
{% for k in d %}{{ k }}{% endfor %} {% for c in 'aé😀' %}{{ c }},{% endfor %} {% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %} {% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}
{% for x in missing %}a{% else %}none{% endfor %} {% for x in [1, 2, 3, 4] if x is even %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% else %}x{% endfor %}
{% for x in n %}a{% endfor %}
{% for a, b in [(1, 2, 3)] %}a{% endfor %}
{% for x in [1, 2] %}{{ loop.first }}{{ loop.last }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{{ loop.cycle('a', 'b') }}{{ loop.changed(1) }} {% endfor %}
{% for x in [1, 2, 3] %}{{ x }}{% if x == 2 %}{% continue %}{% endif %}!{% endfor %} {% for x in [1, 2, 3] %}{{ x }}{% if x == 2 %}{% break %}{% endif %}!{% endfor %}
{% for x in [1, 2] %}{% if x == 1 %}{% set y = 'set' %}{% endif %}{{ y }}{{ y is defined }}{% endfor %}{{ y is defined }}
{% set y = 0 %}{% for x in [1, 2] %}{% set y = y + x %}{{ y }}{% endfor %}{{ y }}
{% set a, b = 1, [2] %}{{ a }}{{ b }} {% set c %}<{{ a }}>{% endset %}{{ c }} {{ c | length }} {% set a = a + 1 %}{{ a }}
{% macro m(a, b='x', c=none) %}({{ a }},{{ b }},{{ c }},{{ varargs }},{{ kwargs }}){% endmacro %}{{ m(1) }}{{ m() }}{{ m(b=2, a=1) }}{{ m(1, 2, 3, 4, k=5) }}
{% macro m(x) %}{{ x }}{{ later }}{% endmacro %}{% set later = 'L' %}{{ m(1) }}{% for later in [9] %}{{ m(2) }}{% endfor %}
{% macro outer() %}<{{ caller('c') }}>{% endmacro %}{% call(x) outer() %}{{ x }}!{% endcall %}
{{ m is defined }}{{ 'a' if false }}{{ ('a' if false) is defined }} {{ 1 if missing else 2 if empty else 3 }} {{ missing or n or 'x' }} {{ i and l and 'y' }} {{ not missing }}
{{ none }}{{ None }}{{ True }}{{ false }} {{ 'a' 'b' }} {{ "\u00e9\x41\n" }}
{{ raise_exception('stop') }}
{{ nofunction(1) }}
{{ i() }}
{{ l | map('upper') | list if false else ['a', 1] | map('upper') | list }}
{%- if l %} yes{% elif d %} no{% endif -%}   {{- 'x' -}}   .
{# comment #}{{ '{{' }} {{ "%}" }} {{ '#}' }}
{% if t %}⏎  {% raw %}⏎ a {{ b }}⏎  {% endraw %}⏎c{% endif %} {% raw %}{{ not }} {% this %}{% endraw %}|{%- raw -%}  x  {%- endraw %} y
{{ strftime_now('%Y-%m-%d %H:%M:%S %d %b %B %a %A %y %j %I %p %-d %e %% %m') }}
{{ d.C ~ d['b'] ~ d.a[0] ~ rows[0].o.z ~ rows[-1]['o'] }} {{ rows[0]['o']['z'] + 1 }} {{ rows | first | tojson }}
{{ (i + 1) ~ ')' }} {{ i - 1 }} {{ i -1 }} {{ -i }} {{ not i in [7] }} {{ i > 3 and i < 9 }} {{ 2 + 3 * 4 - 1 }} {{ (2 + 3) * 4 }}
{{ 'a' ~ 1 + 2 }}
{{ 'a' + 1 ~ 'b' }} {{ (1 + 2) ~ 'x' ~ 3 * 2 }} {{ 'a' + 'b' ~ n + 'c' }} {{ ['a' + i ~ '', 'x'] }} {{ 1 ~ 2 == '12' }}
{{ 'a' ~ 'b' in 'ab' }} {{ d | length > 2 }} {{ 'x' is string and n is none }} {{ l[0] is not none }} {{ not (n is none) }}
{{ '<' + ('&<' | safe) + '>' ~ '"' }} {{ ('<' | safe) + q }} {{ [1, 2] | tojson | safe }} {{ d | string | safe }} {{ joiner(', ')() }} {% set j = joiner('|') %}{{ j() }}a{{ j() }}b
{% generation %}x {% endgeneration %}y {%- generation -%} z {%- endgeneration -%} .
""".strip("\n").split("\n")
SNIPPETS = [line.replace("⏎", "\n") for line in SNIPPETS]
