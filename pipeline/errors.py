"""The errors of motet: whose fault it is, and what to do.

Every error carries one line for the user; the exit code follows from its class
(``0`` done, ``1`` failed while running, ``2`` invalid input and nothing was done,
``3`` a broker or a cluster cannot be reached at start).

All of them survive pickling, since they cross processes.
"""

from __future__ import annotations

from typing import NamedTuple


class MotetError(Exception):
    """Base of all errors that a user may see; ``str(error)`` is one line with the remedy."""

    exit_code = 1


def in_one_line(text: str) -> str:
    """The text with what a terminal or ``splitlines`` would act on written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Problem(NamedTuple):
    """One thing that is wrong with an input: the key, its value, why, and the remedy."""

    key: str
    value: str
    why: str
    remedy: str

    def __str__(self) -> str:
        shown = f" = {self.value}" if self.value else ""
        return in_one_line(f"{self.key}{shown}: {self.why}; {self.remedy}")


def not_utf8(key: str, text: str, remedy: str) -> Problem | None:
    """Where a text that the system gave holds bytes that are no UTF-8 (PEP 383)."""
    if any("\ud800" <= c <= "\udfff" for c in text):
        return Problem(key, text, "it is not UTF-8", remedy)
    return None


class InvalidInput(MotetError):
    """The user's file, flag or data is wrong and nothing was done; holds every problem found."""

    exit_code = 2

    def __init__(self, *problems: Problem | str) -> None:
        super().__init__(*problems)
        self.problems: tuple[Problem | str, ...] = problems

    def __str__(self) -> str:
        return "\n".join(str(p) for p in self.problems)


class Unreachable(MotetError):
    """A broker or a cluster does not answer."""

    exit_code = 3


class PositionLost(MotetError):
    """The committed position cannot be continued from; going on would skip or repeat windows."""

    exit_code = 2


class Fenced(MotetError):
    """Another owner holds the slot; this one must stop and never take back."""


class TakenOver(Fenced):
    """The log says so: another run has claimed the slot."""


class Transient(MotetError):
    """The moment's fault: the same step may be tried again after recovery."""


class Refused(MotetError):
    """A broker refuses what it was asked, and would refuse it again: nothing to retry."""


class UndecodableRecord(MotetError):
    """A record's payload is not what its type says: the record's own fault."""
