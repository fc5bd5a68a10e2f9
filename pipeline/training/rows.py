"""Rows of a user's from CSV, JSON lines or a topic of JSON, each with where it stands."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import InvalidInput, Problem
from pipeline.slot.ports import TopicPartition

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector

PROBLEMS_MAX = 5
_POLL_S = 0.2
Row = tuple[str, Any]  # where it stands, and what it says: None where that is no JSON
Made = TypeVar("Made")


def file_rows(path: Path, key: str, remedy: str) -> Iterator[Row]:
    """The rows of a file, JSON lines where its first character is a brace. Raises InvalidInput."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = f"it cannot be read ({getattr(error, 'strerror', None) or 'it is not UTF-8'})"
        raise InvalidInput(Problem(key, str(path), why, remedy)) from None
    return _json_lines(content) if content.lstrip().startswith("{") else _csv(content)


def topic_rows(connector: Connector, topic: str, key: str, remedy: str) -> list[Row]:
    """The rows of a topic of JSON, up to its end as of now. Raises InvalidInput.

    A row without ``stream`` has its record's key as such.
    """
    control = connector.control()
    try:
        info = control.topics([topic]).get(topic)
        if info is None:
            why, told = "it is no file and no topic", f"name one of the two; {remedy}"
            raise InvalidInput(Problem(key, topic, why, told))
        partitions = [TopicPartition(topic, number) for number in range(info.partitions)]
        positions, ends = control.beginnings(partitions), control.stable_ends(partitions)
    finally:
        control.close()
    rows: list[Row] = []
    source = connector.source()
    source.assign(positions)
    try:
        while any(positions[at] < ends[at] for at in partitions):
            for fetch in source.poll(_POLL_S):
                at = TopicPartition(fetch.topic, fetch.partition)
                positions[at] = fetch.position
                rows += [
                    (
                        f"{topic}-{record.partition}@{record.offset}",
                        parsed(record.value, record.key),
                    )
                    for record in fetch.records
                    if record.offset < ends[at]
                ]
    finally:
        source.close()
    return rows


def checked(
    rows: Iterable[Row], named: str, of: Callable[[Any], Made | str], key: str, remedy: str
) -> list[Made]:
    """What ``of`` makes of each row; a string that it gives says what is wrong with that row.

    Raises InvalidInput, naming the first wrong rows, or where there is none at all.
    """
    found: list[Made] = []
    problems: list[Problem] = []
    for where, row in rows:
        made = of(row)
        if not isinstance(made, str):
            found.append(made)
        elif len(problems) < PROBLEMS_MAX:
            problems.append(Problem(key, f"{named}, {where}", made, remedy))
    if problems:
        raise InvalidInput(*problems)
    if not found:
        raise InvalidInput(Problem(key, named, "it has no rows", remedy))
    return found


def parsed(value: bytes | None, key: bytes | None) -> Any:
    """A row from its JSON; None where that is none. Without ``stream`` it has the key as such."""
    try:
        row = json.loads(value or b"")
    except ValueError:
        return None
    if isinstance(row, dict) and "stream" not in row and key is not None:
        return {**row, "stream": key.decode("utf-8", "replace")}
    return row


def _json_lines(content: str) -> Iterator[Row]:
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            yield f"line {number}", parsed(line.encode(), None)


def _csv(content: str) -> Iterator[Row]:
    for number, row in enumerate(csv.DictReader(io.StringIO(content)), start=2):
        yield (
            f"line {number}",
            {key: value for key, value in row.items() if value not in (None, "")},
        )
