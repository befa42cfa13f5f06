"""The command line program `llm`, configured as its documentation says for servers that speak OpenAI's API."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from trying import BASE_URL, MODEL, STORY, Outing, is_story, run, tries

home = Path(tempfile.mkdtemp(prefix="shoal-llm-"))
(home / "extra-openai-models.yaml").write_text(
    f"- model_id: shoal\n  model_name: {MODEL}\n  api_base: {BASE_URL}\n  supports_schema: true\n  supports_tools: true\n"
    f"- model_id: shoal-completion\n  model_name: {MODEL}\n  api_base: {BASE_URL}\n  completion: true\n"
)


def llm(*args: str) -> str:
    command = [str(Path(sys.executable).parent / "llm"), *args]
    env = os.environ | {"LLM_USER_PATH": str(home)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


@tries("prompt, streamed and not")
def prompt():
    is_story(llm("-m", "shoal", STORY, "-o", "max_tokens", "30"))
    is_story(llm("-m", "shoal", STORY, "-s", "Be brief.", "-o", "max_tokens", "30", "--no-stream"))


@tries("all options that change how tokens are drawn")
def options():
    drawn = {"temperature": "0.7", "top_p": "0.9", "frequency_penalty": "0.5", "presence_penalty": "0.5", "seed": "1"}
    more = {"stop": "zebra", "logit_bias": json.dumps({"5": -100}), "max_tokens": "30"}
    is_story(llm("-m", "shoal", STORY, *[part for key, value in (drawn | more).items() for part in ("-o", key, value)]))


@tries("completion model")
def completion():
    is_story(llm("-m", "shoal-completion", STORY, "-o", "max_tokens", "30"))


@tries("schema")
def schema():
    Outing.model_validate_json(llm("-m", "shoal", STORY, "--schema", json.dumps(Outing.model_json_schema())))


@tries("tools (auto) and a second turn")
def tools():
    is_story(llm("-m", "shoal", STORY, "-T", "llm_version", "-o", "max_tokens", "30"))
    llm("-c", "And then", "-o", "max_tokens", "30")


run("llm")
