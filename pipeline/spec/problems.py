"""Gathering problems: one list for a whole file, one problem a key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pipeline.errors import InvalidInput, Problem
from pipeline.spec.secret import MASK, Secret, is_secret_name, shown
from pipeline.spec.units import Wrong

KeyPath = tuple[str | int, ...]


class Broken:
    """Stands where a value could not be read; the reason is reported already."""

    def __repr__(self) -> str:
        return "<broken>"


BROKEN = Broken()


def holds_broken(value: Any) -> bool:
    """Whether a value, or anything in it, could not be read (problems of it would be echoes)."""
    if isinstance(value, dict):
        return any(holds_broken(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(holds_broken(item) for item in value)
    return value is BROKEN


def dotted(path: KeyPath) -> str:
    """``("stages", "sound", "of", 1)`` as ``stages.sound.of[1]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "file"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def suggestion(word: str, known: Iterable[str], otherwise: str) -> str:
    """``did you mean 'hop'?`` where a known word is near, else ``otherwise``."""
    meant = nearest(word, known)
    return f"did you mean '{meant}'?" if meant else otherwise


class Report:
    """All problems of one file. The first problem of a key is kept: later ones are its echoes."""

    def __init__(self, sections: Iterable[str] = ()) -> None:
        self._sections = {name: number for number, name in enumerate(sections)}
        self._problems: dict[KeyPath, Problem] = {}

    def add(self, path: KeyPath, value: Any, wrong: Wrong, *, harmless: bool = False) -> None:
        """``value`` is shown shortened, and not at all where it is, or may be, a secret.

        ``harmless`` says that it is none although it stands where secrets do.
        """
        if holds_broken(value):
            return
        hidden = value is not None and not harmless and _is_hidden(path, value)
        text = MASK if hidden else "" if value is None else shown(value)
        problem = Problem(_one_line(dotted(path)), _one_line(text), wrong.why, wrong.remedy)
        self._problems.setdefault(path, problem)

    def forget(self, path: KeyPath) -> None:
        """Drops what was said of a key and all below it: it has got another value."""
        below = [known for known in self._problems if known[: len(path)] == path]
        for known in below:
            del self._problems[known]

    def __bool__(self) -> bool:
        return bool(self._problems)

    def error(self) -> InvalidInput:
        """All problems in the order of the file's sections, as one error."""
        last = len(self._sections)
        ordered = sorted(
            self._problems.items(),
            key=lambda item: self._sections.get(str(item[0][0]) if item[0] else "", last),
        )
        return InvalidInput(*(problem for _, problem in ordered))


def _is_hidden(path: KeyPath, value: Any) -> bool:
    """Secrets, values under a secret's name, and whatever else stands among client settings."""
    if isinstance(value, Secret) or path[:2] == ("kafka", "client"):
        return not isinstance(value, dict)
    return any(isinstance(part, str) and is_secret_name(part) for part in path[-1:])


def _one_line(text: str) -> str:
    return " ".join(text.split()) if "\n" in text or "\r" in text else text
