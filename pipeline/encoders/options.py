"""Checks of the built-in encoders' options: one line with key, value, why and remedy."""

from __future__ import annotations

from typing import Any

from pipeline.errors import InvalidInput, Problem
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


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """A word out of a few."""
    if value not in allowed:
        raise wrong_option(name, value, "is unknown", f"write one of {', '.join(allowed)}")
    return str(value)
