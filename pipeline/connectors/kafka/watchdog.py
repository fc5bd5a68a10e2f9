"""Bounds calls that know no timeout of their own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from pipeline.errors import Transient

T = TypeVar("T")


class _Job:
    """One call: its outcome is set before ``done`` is."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.function = function
        self.arguments = arguments
        self.done = threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.value = self.function(*self.arguments)
        except BaseException as error:  # handed to the caller, whatever it is
            self.error = error
        self.done.set()


class Watchdog:
    """Runs calls one after the other on a daemon thread and stops waiting at a limit.

    A call that is stuck stays stuck: its thread is given up with it, every later call raises
    Transient at once, and what it was working on must be thrown away.
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._stuck = False
        self._thread = threading.Thread(target=self._work, name=f"{name}-calls", daemon=True)
        self._thread.start()

    def call(self, limit_s: float, what: str, function: Callable[..., T], *arguments: Any) -> T:
        """What ``function(*arguments)`` returns or raises; Transient after ``limit_s``."""
        job = _Job(function, arguments)
        if not self._stuck:
            self._stuck = True  # and stays so where this thread is interrupted
            self._jobs.put(job)
            self._stuck = not job.done.wait(limit_s)
        if self._stuck:
            raise Transient(f"{what}: the client gave no answer within {limit_s:g} s")
        if job.error is not None:
            raise job.error
        value: T = job.value
        return value

    def close(self) -> None:
        """Ends the thread, unless a call is stuck in it."""
        self._jobs.put(None)
        if not self._stuck:
            self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            del job  # an error would keep its frames, and their sockets, until the next call


def close_within(limit_s: float, name: str, close: Callable[[], object]) -> None:
    """Closes something that may hang, and goes on after the limit whether it has or not."""
    watchdog = Watchdog(name)
    try:
        watchdog.call(limit_s, f"closing {name}", close)
    except Transient:
        pass  # its threads are daemons: they end with the process
    finally:
        watchdog.close()
