"""Changes of a running pipeline: a file beside the pipeline's, which a run looks at.

``FOLDER/.motet/NAME.json`` holds what ``motet scale`` and ``motet apply`` have changed, when and by
whom. Standard library only.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.errors import InvalidInput, Problem
from pipeline.spec.units import Wrong, format_rfc3339, parse_rfc3339_us

if TYPE_CHECKING:
    from pipeline.spec.models import PipelineSpec

FOLDER = ".motet"
FORMAT = 1
CHANGES_MAX = 100  # older ones are folded into one
NAME = "changes"

Values = Mapping[str, Any]  # dotted key of the file -> its value, durations in microseconds


class Change(NamedTuple):
    """``values`` that are in force from ``at_us`` (wall clock) on; ``file``: what the file said of
    the same keys. ``whole``: nothing that was changed before counts any more.
    """

    at_us: int
    by: str
    values: Values
    file: Values
    whole: bool = False


class ChangeStore:
    """Invariant: what is in force changes by one rename, so a reader finds all of a change or
    nothing of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, spec: PipelineSpec) -> ChangeStore:
        return cls(spec.folder / FOLDER / f"{spec.name}.json")

    def changes(self) -> tuple[Change, ...]:
        """The oldest first. Raises InvalidInput."""
        try:
            found = json.loads(self.path.read_bytes())
            if found["format"] != FORMAT:
                raise self._wrong(f"has format {found['format']}, and this version reads {FORMAT}")
            return tuple(
                Change(
                    parse_rfc3339_us(each["at"]), str(each["by"]), dict(each["values"]),
                    dict(each["file"]), bool(each["whole"]),
                )
                for each in found["changes"]
            )  # fmt: skip
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._wrong(f"cannot be read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError, Wrong):
            raise self._wrong("is no list of changes") from None

    def add(self, change: Change) -> None:
        """In force when this returns. Raises InvalidInput where it cannot be written."""
        with self._locked():
            kept = [*self.changes(), change]
            while len(kept) > CHANGES_MAX:
                kept[:2] = [_folded(kept[0], kept[1])]
            told = {"format": FORMAT, "changes": [_as_json(each) for each in kept]}
            beside = self.path.with_name(f".{self.path.name}")
            beside.write_text(f"{json.dumps(told, indent=1)}\n", encoding="utf-8")
            with beside.open() as written:
                os.fsync(written.fileno())
            beside.replace(self.path)

    def signature(self) -> tuple[int, int, int] | None:
        """Another one after every change, since that renames a new file."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            why = f"cannot be written ({error.strerror})"
            remedy = "give yourself the right to write there; the run must read the same folder"
            raise InvalidInput(Problem(NAME, str(self.path), why, remedy)) from error

    def _wrong(self, why: str) -> InvalidInput:
        remedy = "remove it: the file's own values count then"
        return InvalidInput(Problem(NAME, str(self.path), why, remedy))


class InForce(NamedTuple):
    value: Any
    file: Any


def in_force(changes: tuple[Change, ...]) -> dict[str, InForce]:
    """By key the newest value, and what the file said when it was changed."""
    found: dict[str, InForce] = {}
    for change in changes:
        if change.whole:
            found = {}
        for key, value in change.values.items():
            found[key] = InForce(value, change.file.get(key))
    return found


def _folded(one: Change, other: Change) -> Change:
    if other.whole:
        return other
    return Change(
        other.at_us, other.by, {**one.values, **other.values}, {**one.file, **other.file}, one.whole
    )


def _as_json(change: Change) -> dict[str, Any]:
    return {
        "at": format_rfc3339(change.at_us, "microseconds"),
        "by": change.by,
        "values": dict(change.values),
        "file": dict(change.file),
        "whole": change.whole,
    }
