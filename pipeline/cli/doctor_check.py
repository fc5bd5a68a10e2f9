"""One line of ``motet doctor``."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["ok", "warning", "error"]


class Check(NamedTuple):
    """What was looked at, how it is, what was found, and what to do about it ("" where ok)."""

    check: str
    state: State
    found: str
    remedy: str = ""


def ok(check: str, found: str) -> Check:
    return Check(check, "ok", found)


def warning(check: str, found: str, remedy: str) -> Check:
    return Check(check, "warning", found, remedy)


def error(check: str, found: str, remedy: str) -> Check:
    return Check(check, "error", found, remedy)
