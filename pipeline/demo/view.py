"""How the demo shows a result: rows with bars on a terminal, a plain line elsewhere."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import clock
from pipeline.demo.measure import Seen
from pipeline.spec import format_rfc3339

Paint = Callable[[str, str], str]  # text and colour -> text

ROWS_A_SECOND = 3
ROWS_BETWEEN_HEADINGS = 30
BAR_FULL = 0.5  # the share that fills a bar: four stages seldom have more
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LEFT = 25  # stream, window, inputs
_RIGHT = 6  # latency
_CELL = 9  # of a stage, without its bar: weight, percent, gaps


@dataclass
class Rows:
    """Rows of a table that fits ``columns``: each stage's weight, its share as a bar, latency."""

    stages: Sequence[str]
    columns: int
    paint: Paint

    def __post_init__(self) -> None:
        room = (self.columns - _LEFT - _RIGHT) // len(self.stages) - _CELL
        self._bar = max(1, min(10, room))

    def heading(self) -> str:
        width = self._bar + _CELL
        cells = "".join(f"{_cut(stage, width - 1):<{width}}" for stage in self.stages)
        return f"{'stream':<8}{'window':<9}{'inputs':<8}{cells}{'after':>{_RIGHT - 1}}"

    def row(self, seen: Seen) -> str:
        result = seen.result
        at = format_rfc3339(result["window"]["start_us"], "seconds")[11:19]
        missing = result["missing"]
        inputs = f"no {'+'.join(missing)}" if missing else f"all {len(result['present'])}"
        colour = "yellow" if missing else "green"
        cells = "".join(self._cell(result, stage) for stage in self.stages)
        left = self.paint(f"{_cut(result['stream'], 7):<8}", "cyan")
        return f"{left}{at:<9}{self.paint(f'{_cut(inputs, 7):<8}', colour)}{cells}{_after(seen)}"

    def found(self, seen: Seen) -> str | None:
        """What the stages found, below the row; None where no stage gives text or data."""
        told = " · ".join(f"{stage}: {what}" for stage, what in findings(seen.result))
        return self.paint(_cut(f"{'':<8}{told}", self.columns), "white") if told else None

    def _cell(self, result: Mapping[str, Any], stage: str) -> str:
        weight = result["weights"].get(stage)
        if weight is None:
            return f"{'-':<{self._bar + _CELL}}"
        share = result["attribution"].get(stage, 0.0)
        bar = self.paint(f"{bar_of(share / BAR_FULL, self._bar):<{self._bar}}", "blue")
        return f"{f'{weight:.2f}'.removeprefix('0')} {bar}{round(100 * share):>3}% "


def plain(seen: Seen) -> str:
    """One line of ``key=value`` parts, for logs."""
    result = seen.result
    window = result["window"]
    length = (window["end_us"] - window["start_us"]) / 1e6
    return (
        f"{result['stream']} {format_rfc3339(window['start_us'], 'seconds')} +{length:g}s "
        f"present={','.join(result['present'])} missing={','.join(result['missing']) or '-'} "
        f"weights={_numbers(result['weights'])} attribution={_numbers(result['attribution'])} "
        f"{''.join(f'{stage}={json.dumps(what)} ' for stage, what in findings(result))}"
        f"after={_after(seen)}"
    )


def findings(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """In words what each stage of the demo gave: its text, its likeliest label, its faces."""
    found: dict[str, str] = {stage: text or "-" for stage, text in result["text"].items()}
    for stage, value in result["data"].items():
        if "faces" in value:
            found[stage] = str(_most_at_once(value["faces"]))
        elif stage not in found and "labels" in value:
            found[stage] = _likeliest(value["labels"])
    return list(found.items())


def _most_at_once(faces: Sequence[Mapping[str, Any]]) -> int:
    """Of the faces in one frame: the same face is found in every frame that it is in."""
    return max(Counter(face["time_us"] for face in faces).values(), default=0)


def _likeliest(labels: Sequence[Mapping[str, Any]]) -> str:
    return f"{labels[0]['label']} {labels[0]['score']:.2f}" if labels else "-"


def bar_of(filled: float, cells: int) -> str:
    """A bar of at most ``cells`` characters, exact to an eighth of one; ``filled`` is 0 to 1."""
    eighths = round(8 * cells * min(max(filled, 0.0), 1.0))
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _after(seen: Seen) -> str:
    return f"{seen.read_us / 1e6:.2f}s"


def _numbers(values: Mapping[str, float]) -> str:
    return ",".join(f"{stage}:{value:.2f}" for stage, value in values.items())


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}~"


@dataclass
class View:
    """Shows results, but no more than can be read: the others are only counted.

    ``rows`` None shows plain lines.
    """

    emit: Callable[[str], None]
    rows: Rows | None
    _shown: int = 0
    _second: int = -1
    _in_second: int = 0

    def show(self, seen: Seen) -> None:
        second = clock.monotonic_us() // 1_000_000
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        if self._in_second > ROWS_A_SECOND:
            return
        if self.rows is None:
            self.emit(plain(seen))
        else:
            if self._shown % ROWS_BETWEEN_HEADINGS == 0:
                self.emit(self.rows.heading())
            self.emit(self.rows.row(seen))
            found = self.rows.found(seen)
            if found is not None:
                self.emit(found)
        self._shown += 1
