"""Secrets: text that works as text and is never shown.

A password has to reach kafka-python as a plain ``str``, and must not appear in a repr, an
error or a ``--json`` output on the way there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

MASK = "***"
SHOWN_CHARS_MAX = 60

_SECRET_NAME = re.compile(r"pass|pwd|secret|token|credential|private|apikey|api_key|proxy", re.I)
_PLAIN = re.compile(r"[^\s'\"{}\[\],#&*!|>%@`]([^\n\r\t\x00-\x1f]*[^\s])?")


class Secret(str):
    """A text whose repr hides it, in whatever container it is shown.

    ``str()``, ``encode()`` and formatting give the text itself: that is what it is for.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{MASK}'"


def is_secret_name(name: str) -> bool:
    """Whether a key's name says that its value must not be shown (``sasl_plain_password``)."""
    return _SECRET_NAME.search(name) is not None


def masked(value: Any) -> Any:
    """The same value as JSON may show it: every Secret in it replaced by ``***``."""
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, dict):
        return {key: masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    return value


def secrets_in(value: Any) -> Iterator[Secret]:
    """Every Secret in a tree of maps and lists."""
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from secrets_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from secrets_in(item)


def shown(value: Any) -> str:
    """A value as an error shows it: one short line; never a Secret, never a whole map."""
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, dict):
        return "{...}" if value else "{}"
    if isinstance(value, list | tuple):
        text = "[" + ", ".join(shown(item) for item in value[:SHOWN_CHARS_MAX]) + "]"
    elif isinstance(value, str) and _PLAIN.fullmatch(value):
        text = str(value)
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 3] + "..."
