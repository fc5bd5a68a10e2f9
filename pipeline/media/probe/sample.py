"""What is probed, and what is found: the values of this room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from pipeline.slot.ports import LogRecord

Sure = Literal["sure", "likely", "guess"]
T = TypeVar("T", bound=Hashable)


class Finding(NamedTuple):
    """One thing that was seen: about which key of an input, in words, and how sure it is."""

    about: str
    text: str
    sure: Sure

    def __str__(self) -> str:
        return f"{self.about}: {self.text} ({self.sure})"


@dataclass(frozen=True, slots=True)
class TopicSample:
    """Some records of a topic; a *run* is a piece of one partition without a gap, in log order."""

    topic: str
    partitions: int
    append_time: bool
    compacted: bool
    runs: tuple[tuple[LogRecord, ...], ...]

    @property
    def records(self) -> list[LogRecord]:
        return [record for run in self.runs for record in run]


class Placed(NamedTuple):
    """A sampled record as the guess reads it; times in microseconds since the epoch."""

    run: int
    stream: str
    event_us: int
    append_us: int
    payload: bytes


def header(record: LogRecord, name: str) -> bytes | None:
    """Its last header of this name, as the reader takes it."""
    found = None
    for key, value in record.headers:
        if key == name:
            found = value
    return found


def most(items: Iterable[T]) -> tuple[T, float]:
    """The most frequent item and its share; items must not be empty."""
    counts = Counter(items)
    [(item, count)] = counts.most_common(1)
    return item, count / counts.total()


def shown(text: str, limit: int = 60) -> str:
    """A text of a stranger's, fit for one line of a comment or a terminal."""
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable if len(printable) <= limit else printable[: limit - 3] + "..."
