"""A process of a measurement, as the one that measures sees it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from pipeline import clock
from pipeline.benchmark.order import Order
from pipeline.benchmark.processes import MARK
from pipeline.connectors.environment import CONSUMER_ENV
from pipeline.errors import MotetError
from pipeline.tasks.host import Host

END_S = 30.0
SHOWN_CHARS_MAX = 600


class Part:
    """A process that carries out an order; what it started ends with it.

    Invariant: on leaving its ``with`` it has ended, by itself, by SIGTERM, or killed.
    """

    def __init__(self, order: Order, mark: str, program: tuple[str, ...]) -> None:
        """``program``: the words that begin a part, but for its order."""
        self.order = order
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed in __exit__)
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.began_us = clock.monotonic_us()
        self.process = subprocess.Popen(
            [*program, order.dump()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env={**os.environ, **CONSUMER_ENV, "OMP_NUM_THREADS": "1", MARK: mark},
            start_new_session=True,  # Ctrl-C in the terminal is for us, and we end it
        )
        self._thread = threading.Thread(target=self._read, name="part", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                self._events.put(json.loads(line))
        self._events.put(None)

    def wait_for(self, kind: str, limit_s: float) -> Mapping[str, Any]:
        """The next event, which must be of this kind; MotetError with what it said where not."""
        try:
            found = self._events.get(timeout=limit_s)
        except queue.Empty:
            raise MotetError(
                f"{self._title}: not {kind} within {limit_s:g} s{self._last()}"
            ) from None
        if found is None or found["event"] != kind:
            raise MotetError(f"{self._title}: ended before it was {kind}{self._last()}")
        return found

    def demand_alive(self) -> None:
        """Raises MotetError where it has ended."""
        if self.process.poll() is not None:
            raise MotetError(f"{self._title}: ended with {self.process.returncode}{self._last()}")

    def go(self, at_us: int = 0) -> None:
        """One that waits for it goes on; ``at_us`` tells when, where it wants to know."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{at_us}\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.kill()
        self._thread.join()
        for stream in (self.process.stdin, self.process.stdout, self._said):
            if stream is not None:
                stream.close()

    @property
    def _title(self) -> str:
        where = "local" if self.order.local else "on Ray"
        return f"{self.order.role} of {self.order.job}, {where}"

    def _last(self) -> str:
        """The end of what it said, on one line."""
        self._said.seek(0)
        text = self._said.read().decode(errors="replace")
        lines = [line for line in text.splitlines() if line.strip()]
        return f": {' / '.join(lines[-3:])[-SHOWN_CHARS_MAX:]}" if lines else ""


def own_program(cluster: Host | None) -> tuple[str, ...]:
    """The words that begin a part (``pipeline/cli/bench_part.py``), but for its order.

    ``cluster``: a function that can be imported, which runs a pipeline on a cluster.
    """
    host = "" if cluster is None else f"{cluster.__module__}:{getattr(cluster, '__name__', '')}"
    return (sys.executable, "-m", "pipeline.cli.bench_part", host)
