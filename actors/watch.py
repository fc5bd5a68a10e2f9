"""How an actor's end is seen at once: one call that returns only when the actor is done."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

from pipeline.errors import Fenced, InvalidInput, MotetError, PositionLost, TakenOver
from pipeline.tasks.fusion_runner import FusionState
from pipeline.tasks.ingest_view import IngestView

_log = logging.getLogger(__name__)


class Ending(NamedTuple):
    """Why an actor's loop has ended; a value, since exceptions cross processes badly."""

    kind: str  # "stopped", "taken", "fenced", "refused" or "failed"
    text: str = ""


class IngestStatus(NamedTuple):
    """``drained``: nothing is in flight any more, nor will be, after ``delivered`` calls, but for
    ``left`` windows that encoders had.

    ``overdue``: replicas that hang. ``holding``: those that get batches or have some, as of the
    number that came with ``set_encoders`` (None: not looked at yet). ``silent_us``: since the loop
    last came round.
    ``not_ready``: why it does not go on, in words.
    """

    drained: bool
    delivered: int
    left: int
    waiting: list[str]
    warnings: list[str]
    overdue: list[str]
    holding: tuple[int, frozenset[str]] | None
    silent_us: int
    view: IngestView
    not_ready: str | None


class FusionStatus(NamedTuple):
    """The runner's state, and how long ago its loop last came round."""

    state: FusionState
    silent_us: int


class Watched:
    """Runs a loop in a thread of its own; ``wait`` tells how it ended."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._ended = threading.Event()
        self._ending = Ending("stopped")

    def start(self, loop: Callable[[], None]) -> None:
        threading.Thread(target=self._run, args=(loop,), name=self._name, daemon=True).start()

    def wait(self, limit_s: float | None = None) -> Ending:
        """How it ended; "stopped" where it has not within the limit."""
        self._ended.wait(limit_s)
        return self._ending

    def _run(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except BaseException as error:
            self._ending = ending_of(error)
            _log.error("its loop ended (%s): %s", *self._ending)
        else:
            _log.info("its loop ended")
        self._ended.set()


def ending_of(error: BaseException) -> Ending:
    if isinstance(error, TakenOver):
        return Ending("taken", str(error))
    if isinstance(error, Fenced):
        return Ending("fenced", str(error))
    if isinstance(error, (PositionLost, InvalidInput)):
        return Ending("refused", str(error))
    if isinstance(error, MotetError):
        return Ending("failed", str(error))
    return Ending("failed", f"{type(error).__name__}: {error}")
