"""Labels from CSV, JSON lines or a topic, and which of them a window has (contract section 5)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.errors import InvalidInput, Problem
from pipeline.training.rows import checked, file_rows, topic_rows

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector

KEY = "--labels"
REMEDY = "write stream,start_us,end_us,label (or text), as CSV or JSON lines"


class Label(NamedTuple):
    """What is true of a stream during ``[start_us, end_us)``: a class, or what was said.

    Neither: what was said before of exactly that time is taken back.
    """

    stream: str
    start_us: int
    end_us: int
    label: str | None
    text: str | None

    @property
    def withdrawn(self) -> bool:
        return self.label is None and self.text is None


def read_labels(path: Path) -> list[Label]:
    """The rows of a file, JSON lines where its first character is a brace. Raises InvalidInput."""
    return checked(file_rows(path, KEY, REMEDY), str(path), label_of, KEY, REMEDY)


def topic_labels(connector: Connector, topic: str) -> list[Label]:
    """What stands in a topic of JSON, up to its end as of now (``standing``).

    Raises InvalidInput.
    """
    rows = checked(topic_rows(connector, topic, KEY, REMEDY), topic, change_of, KEY, REMEDY)
    found = standing(rows)
    if not found:
        raise InvalidInput(Problem(KEY, topic, "all its labels were taken back", REMEDY))
    return found


def standing(rows: Iterable[Label]) -> list[Label]:
    """What is said of a time of a stream at last: a newer row of the same time replaces what an
    older one says, label or text, and one with neither takes back both.

    ``rows``: those of a stream in the order in which they were written.
    """
    found: dict[tuple[str, int, int], Label] = {}
    for row in rows:
        before = found.pop(row[:3], None)
        if row.withdrawn:
            continue
        if before is not None:
            label = before.label if row.label is None else row.label
            text = before.text if row.text is None else row.text
            row = row._replace(label=label, text=text)
        found[row[:3]] = row
    return list(found.values())


def change_of(row: Any) -> Label | str:
    """A row of a topic: as ``label_of``, and one whose label is null takes back."""
    if isinstance(row, dict) and "label" in row and row["label"] is None:
        made = label_of({**row, "label": ""})
        return made if isinstance(made, str) else made._replace(label=None)
    return label_of(row)


def label_of(row: Any) -> Label | str:
    """A row as a label, or what is wrong with it."""
    if not isinstance(row, dict):
        return "it is no JSON object"
    missing = [name for name in ("stream", "start_us", "end_us") if row.get(name) is None]
    if missing:
        return f"it has no {' and no '.join(missing)}"
    if row.get("label") is None and row.get("text") is None:
        return "it has neither label nor text"
    try:
        start_us, end_us = _whole(row["start_us"]), _whole(row["end_us"])
    except (TypeError, ValueError):
        return "start_us and end_us are not whole microseconds"
    if start_us >= end_us:
        return f"it ends at {end_us}, not after its start {start_us}"
    label, text = row.get("label"), row.get("text")
    return Label(
        str(row["stream"]),
        start_us,
        end_us,
        None if label is None else str(label),
        None if text is None else str(text),
    )


def _whole(value: Any) -> int:
    if isinstance(value, str):
        return int(value)
    if isinstance(value, bool) or int(value) != value:
        raise ValueError(value)
    return int(value)


class LabelIndex:
    """Which label a window has.

    A window has the label that overlaps it the longest, if that covers half of the shorter of the
    two: so a long label names all windows inside it, and a short event the window it lies in. Of
    equals the one that begins first counts, then by its words; so the order of rows decides
    nothing.
    """

    def __init__(self, labels: Iterable[Label]) -> None:
        self._by_stream: dict[str, list[Label]] = {}
        for label in sorted(set(labels), key=lambda row: (row.start_us, row.end_us, str(row[3:]))):
            self._by_stream.setdefault(label.stream, []).append(label)
        # The longest label of a stream bounds how far back one that overlaps can begin.
        self._longest_us = {
            stream: max(row.end_us - row.start_us for row in rows)
            for stream, rows in self._by_stream.items()
        }

    @property
    def span_us(self) -> tuple[int, int]:
        """From the first label's start to the last one's end."""
        rows = [row for rows in self._by_stream.values() for row in rows]
        return min(row.start_us for row in rows), max(row.end_us for row in rows)

    def of(self, stream: str, start_us: int, end_us: int) -> Label | None:
        rows: Sequence[Label] = self._by_stream.get(stream, ())
        if not rows:
            return None
        first = bisect_left(rows, start_us - self._longest_us[stream], key=lambda r: r.start_us)
        best, best_us = None, 0
        for row in rows[first:]:
            if row.start_us >= end_us:
                break
            overlap_us = min(row.end_us, end_us) - max(row.start_us, start_us)
            shorter_us = min(row.end_us - row.start_us, end_us - start_us)
            if overlap_us > best_us and 2 * overlap_us >= shorter_us:
                best, best_us = row, overlap_us
        return best
