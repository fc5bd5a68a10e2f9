"""Keeps the warnings of decoders and of librosa out of a host's log."""

from __future__ import annotations

import threading
import warnings
from types import TracebackType


class Quiet:
    """While any thread is inside, the process shows no warnings; then its filters are as before.

    ``warnings.catch_warnings`` alone restores what it saw at its own start: two threads that
    leave in the order they came would leave the first one's silence behind for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._caught.__exit__(kind, error, trace)


QUIET = Quiet()  # one a process, as the filters are
