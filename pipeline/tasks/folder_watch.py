"""A thread that looks, while a pipeline runs, at a folder in which something may change."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from pipeline.errors import InvalidInput

POLL_S = 1.0
CLOSE_S = 1.0  # a folder that hangs keeps no run from its end


class FolderWatch(ABC):
    """Calls ``look`` every POLL_S, by a thread of its own: a folder that hangs holds up nothing.

    Invariant: what cannot be read changes nothing; it is told once, as long as it is the same.
    """

    def __init__(self, name: str, stays: str) -> None:
        """``name``: of the thread; ``stays``: what is in force where a look fails, in words."""
        self._name, self._stays = name, stays
        self._trouble: str | None = None
        self._told: str | None = None
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def look(self) -> None:
        """Reads what was changed since; raises InvalidInput where that cannot be taken."""

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def news(self) -> list[str]:
        """Warnings that were not told yet."""
        trouble, before = self._trouble, self._told
        self._told = trouble
        return [] if trouble is None or trouble == before else [trouble]

    def _run(self) -> None:
        while not self._closed.wait(POLL_S):
            try:
                self.look()
                self._trouble = None
            except InvalidInput as error:
                why = "; ".join(str(error).splitlines())
                self._trouble = f"{why} ({self._stays})"
