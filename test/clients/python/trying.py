"""What the programs in this folder share: each tries one client and writes a line for each thing that it tried."""

import json
import os
import sys
import time
import traceback
from importlib.metadata import version
from typing import Callable, Literal

from pydantic import BaseModel, Field

URL = os.environ["SHOAL_URL"]
BASE_URL = f"{URL}/v1"
MODEL = "tiny-stories"
KEY = "any"
STORY = "Once upon a time there was a"
QUESTION = "How is the weather in Oslo?"
# For requests of "any JSON object": the model, which is told of no schema then, would write on and on. With the grammar it writes
# {}; without, nothing but this token.
END_OBJECT = {os.environ["SHOAL_END_OBJECT_TOKEN"]: 100}


class Weather(BaseModel):
    """What a tool takes. The model writes what comes to its mind, so that only the grammar makes it fit."""

    location: str = Field(max_length=12)
    unit: Literal["celsius", "fahrenheit"]


class Outing(BaseModel):
    """An answer. Without limits of length, which clients take out of schemas, and so without free text."""

    kind: Literal["fair", "picnic"]
    outside: bool


class Anything(BaseModel):
    """An answer that {} is."""

    note: str = ""


_trials: list[tuple[str, Callable[[], object]]] = []


def tries(what: str) -> Callable[[Callable[[], object]], Callable[[], object]]:
    """Marks a function that raises if what it tries fails."""

    def mark(function: Callable[[], object]) -> Callable[[], object]:
        _trials.append((what, function))
        return function

    return mark


def is_story(text: str | None) -> None:
    """Of an answer to a prompt that begins a story. To others the model may answer with a sign or nothing."""
    words = (text or "").split()
    assert len([word for word in words if word.isalpha()]) >= 2, f"no story: {text!r}"


def run(package: str) -> None:
    """Tries everything that was marked. The lines go to the standard output that the process began with."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(**line: object) -> None:
        out.write(json.dumps(line) + "\n")
        out.flush()

    say(package=package, version=version(package), trials=[what for what, _ in _trials])
    for what, function in _trials:
        began = time.monotonic()
        fault = None
        try:
            function()
        except BaseException as error:  # noqa: BLE001 (also assertions and exits)
            traceback.print_exc(file=sys.stderr)
            fault = f"{type(error).__name__}: {error}"
        say(tried=what, error=fault, seconds=time.monotonic() - began)
    out.flush()
    # Some clients leave threads behind that would wait.
    os._exit(0)
