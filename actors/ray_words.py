"""What Ray has to say to whoever runs a pipeline, as plain lines of ours on stderr.

Left alone it writes paragraphs in colours to stdout, where the results of a command go. What
encoders print is another thing: it goes to their own logs in Ray's session folder, as ever.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ray._private import worker

from pipeline.errors import in_one_line

CHARS_MAX = 300
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# The supervisor sees every death of an actor of its own, and says which one it was.
_TOLD = "A worker died or was killed"


def take_over(say: Callable[[str], None]) -> None:
    """From the next ``ray.init`` on; without ``log_to_driver`` it prints nothing else."""

    def told(data: Mapping[str, Any], ignore_prefix: bool = False) -> None:
        for message in data["lines"]:
            line = plain(str(message))
            if line:
                say(f"motet: Ray: {line}")

    worker.print_to_stdstream = told


def plain(message: str) -> str:
    """Its first sentence, on one line and without colours; empty where we tell it ourselves."""
    words = " ".join(_COLOURS.sub("", message).split())
    if words.startswith(_TOLD):
        return ""
    sentence = in_one_line(words.partition(". ")[0])
    return sentence if len(sentence) <= CHARS_MAX else f"{sentence[:CHARS_MAX]} ..."
