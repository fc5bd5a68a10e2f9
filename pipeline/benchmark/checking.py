"""Whether every window came out once, whole, and with the answer that its content has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import orjson

from pipeline.benchmark.jobs import SECOND_US, STREAMS, VARIANTS, Job, Window, stream_name
from pipeline.errors import MotetError

TOLERANCE = 1e-3  # between windows of the same content, by number
SHOWN_MAX = 3


class ResultCheck:
    """Takes results one by one; ``problems`` says what is wrong with all of them.

    Invariant: a window is right only if it came once, all of its inputs were there, nothing
    failed, and its vector is that of every other window of the same content.
    """

    def __init__(self, job: Job, begin_us: int, windows: int) -> None:
        self._job = job
        self._begin_us = begin_us
        self._waited_for = {
            Window(stream_name(number % STREAMS), number // STREAMS * SECOND_US)
            for number in range(windows)
        }
        self._came: set[Window] = set()
        self._vectors: dict[int, list[float]] = {}  # by variant, the first that came
        self._wrong: dict[str, list[str]] = {}

    @property
    def missing(self) -> int:
        return len(self._waited_for)

    def take(self, value: bytes) -> Window:
        """The window of a result, which is looked at."""
        result = orjson.loads(value)
        window = Window(result["stream"], result["window"]["start_us"] - self._begin_us)
        for what in self._wrongs(window, result):
            self._wrong.setdefault(what, []).append(f"{window.stream}/{window.start_us}")
        self._waited_for.discard(window)
        self._came.add(window)
        return window

    def _wrongs(self, window: Window, result: dict[str, Any]) -> Iterator[str]:
        if window not in self._waited_for:
            yield "came twice" if window in self._came else "is none of the job's"
            return
        if result["present"] != sorted(self._job.inputs):
            yield f"has inputs {result['present']}"
        if any(share != 1.0 for share in result["coverage"].values()):
            yield f"is covered by {result['coverage']}"
        if result["failed"]:
            yield f"has failed stages {result['failed']}"
        vector = result["output"].get("vector")
        if not vector or not all(map(math.isfinite, vector)):
            yield "has no vector"
            return
        stream = int(window.stream.rpartition("-")[2])
        variant = (window.start_us // SECOND_US * STREAMS + stream) % VARIANTS
        first = self._vectors.setdefault(variant, vector)
        if len(first) != len(vector) or any(
            abs(a - b) > TOLERANCE for a, b in zip(first, vector, strict=True)
        ):
            yield "has another vector than a window of the same content"

    def problems(self) -> list[str]:
        found = [
            f"{len(where)} windows: each {what} ({', '.join(where[:SHOWN_MAX])})"
            for what, where in self._wrong.items()
        ]
        if self._waited_for:
            some = sorted(self._waited_for)[:SHOWN_MAX]
            shown = ", ".join(f"{each.stream}/{each.start_us}" for each in some)
            found.append(f"{len(self._waited_for)} windows did not come ({shown})")
        return found

    def demand(self, what: str) -> None:
        """Raises MotetError where anything is wrong: then no figure is worth a line."""
        problems = self.problems()
        if problems:
            raise MotetError(f"{what}: the results are wrong: {'; '.join(problems)}")
