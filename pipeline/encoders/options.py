"""Checks of the built-in encoders' options: one line with key, value, why and remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.errors import InvalidInput, Problem
from pipeline.spec.problems import nearest
from pipeline.spec.secret import shown


def wrong_option(name: str, value: Any, why: str, remedy: str) -> InvalidInput:
    """The error of one option; the loader puts the stage's key before it."""
    return InvalidInput(Problem(f"options.{name}", shown(value), why, remedy))


def whole(name: str, value: Any, least: int, most: int, unit: str = "") -> int:
    """A whole number within its bounds; ``unit`` (``Hz``, ``samples``) goes into the remedy."""
    remedy = f"write a whole number from {least} to {most}" + (f" ({unit})" if unit else "")
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_option(name, value, "is no whole number", remedy)
    if not least <= value <= most:
        raise wrong_option(name, value, "is out of range", remedy)
    return value


def real(name: str, value: Any, least: float, most: float, unit: str = "") -> float:
    """A finite number within its bounds."""
    remedy = f"write a number from {least:g} to {most:g}" + (f" ({unit})" if unit else "")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_option(name, value, "is no number", remedy)
    if not least <= value <= most:  # also where it is NaN
        raise wrong_option(name, value, "is out of range", remedy)
    return float(value)


def one_of(name: str, value: Any, known: Sequence[str]) -> str:
    """A word out of a few."""
    if not isinstance(value, str) or value not in known:
        meant = nearest(str(value), known)
        listed = f"write one of {', '.join(known)}"
        raise wrong_option(
            name, value, "is not known", f"did you mean '{meant}'? {listed}" if meant else listed
        )
    return value


def flag(name: str, value: Any) -> bool:
    """True or false, and nothing that only looks like it."""
    if not isinstance(value, bool):
        raise wrong_option(name, value, "is neither true nor false", "write true or false")
    return value
