"""Trying again what failed by the moment's fault, longer apart each time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import MotetError, Transient

FIRST_S = 0.05
LONGEST_S = 2.0

T = TypeVar("T")


class Retry:
    """Waits between tries without end (a broker that is away ends nothing), until told to stop."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def until(self, stop: threading.Event) -> None:
        """From the next wait on this event stops it, and no other."""
        self._stop = stop

    def __call__(self, attempt: int) -> None:
        """Waits before try ``attempt + 1``; raises MotetError where the host is stopping."""
        if self._stop.wait(min(LONGEST_S, FIRST_S * 2 ** min(attempt, 10))):
            raise MotetError("stopped before a transaction was finished; run again to go on")

    def call(self, work: Callable[[], T]) -> T:
        attempt = 0
        while True:
            try:
                return work()
            except Transient:
                attempt += 1
                self(attempt)
