"""What a process of a measurement is told to do, and what it tells: lines of JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pipeline.benchmark.jobs import Job, job_named
from pipeline.spec import PipelineSpec, loads

Role = Literal["host", "send", "bare"]


class Order(NamedTuple):
    """``host``: run the pipeline ``name``, up to the end of its inputs or until told to stop.
    ``send``: send the records at ``rate`` a second, the first at ``send_us`` of the monotonic
    clock. ``bare``: only encode, for ``seconds`` from when a line comes on stdin.

    ``bootstrap`` None: the broker in memory, which this process fills by itself (``host``).
    """

    role: Role
    job: str
    source: str
    windows: int
    begin_us: int
    bootstrap: str | None = None
    name: str = ""
    local: bool = True
    until_end: bool = True
    wait_ms: int = 200
    rate: float = 0.0
    send_us: int = 0
    seconds: float = 0.0

    @property
    def of(self) -> Job:
        return job_named(self.job)

    @property
    def spec(self) -> PipelineSpec:
        text = self.of.file(
            self.name or "bench", self.source, self.bootstrap or "127.0.0.1:9092", self.wait_ms
        )
        return loads(text, folder=Path(), environ={})

    def dump(self) -> str:
        return json.dumps(self._asdict())

    @classmethod
    def load(cls, text: str) -> Order:
        return cls(**json.loads(text))


def event(kind: str, **facts: Any) -> str:
    """``ready``: all of it runs, at a moment. ``done``: what came of it."""
    return json.dumps({"event": kind, **facts})
