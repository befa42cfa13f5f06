"""Makes test/golden/fixtures/chat-templates.json: what transformers renders with templates of our own.

    python3 -m venv venv && venv/bin/pip install transformers==5.24.0 jinja2==3.1.6
    venv/bin/python test/golden/make/chat_templates/make.py > test/golden/fixtures/chat-templates.json

With a folder, it writes the same of the templates (*.jinja) in it, for `compare.ts` beside this file.

Each template gets every conversation, with a call's arguments as an object and as JSON text: as Shoal prepares them
("prepared"), and, of a folder's templates, as they are ("raw"). An error of transformers' is recorded as null.
"""

import copy
import datetime
import json
import sys
from pathlib import Path

from conversations import CASES, RAW_CASES
from snippets import SNIPPETS, VALUES
from templates import TEMPLATES
from transformers.utils import chat_template_utils

NOW = datetime.datetime(2026, 3, 5, 17, 4, 9)


class FixedTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = FixedTime


def as_text(messages):
    for message in messages:
        for one in message.get("tool_calls", []):
            one["function"]["arguments"] = json.dumps(one["function"]["arguments"], ensure_ascii=False)
    return messages


def prepared(messages):
    """What ChatTemplate does: no null contents, and reasoning under all names that it has."""
    for message in messages:
        content, reasoning = message["content"], message.get("reasoning_content")
        message["content"] = content or ""
        if reasoning:
            message["reasoning"] = reasoning
            if not content:
                message["thinking"] = reasoning
    return messages


def render(template, messages, case):
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


def in_both_forms(template, case, prepare):
    messages = lambda: prepare(copy.deepcopy(case["messages"]))
    both = {"object": render(template, messages(), case), "string": render(template, as_text(messages()), case)}
    return both["object"] if both["object"] == both["string"] else both


def rendered(source, raw):
    template = chat_template_utils._compile_jinja_template(source)
    kinds = {"prepared": {name: in_both_forms(template, case, prepared) for name, case in CASES.items()}}
    if raw:
        cases = CASES | RAW_CASES
        kinds["raw"] = {name: in_both_forms(template, case, lambda messages: messages) for name, case in cases.items()}
    return kinds


def snippet(source):
    try:
        return chat_template_utils._compile_jinja_template(source).render(**VALUES)
    except Exception:
        return None


def main():
    if len(sys.argv) > 1:
        sources = {path.name: path.read_text(encoding="utf8") for path in sorted(Path(sys.argv[1]).glob("*.jinja"))}
        templates = {name: {"source": source, **rendered(source, True)} for name, source in sources.items()}
        print(json.dumps({"templates": templates, "cases": CASES | RAW_CASES}, ensure_ascii=False))
        return
    templates = {
        name: {"source": source, "argumentsAs": form, **rendered(source, False)}
        for name, (source, form) in TEMPLATES.items()
    }
    snippets = {source: snippet(source) for source in SNIPPETS}
    fixture = {"templates": templates, "cases": CASES, "now": NOW.isoformat(), "values": VALUES, "snippets": snippets}
    print(json.dumps(fixture, ensure_ascii=False, indent=1))


main()
