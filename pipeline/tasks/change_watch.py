"""Sees while a pipeline runs that ``motet scale`` or ``motet apply`` has changed something."""

from __future__ import annotations

import queue
import threading

from pipeline.errors import InvalidInput
from pipeline.spec import PipelineSpec
from pipeline.spec.change_store import ChangeStore, in_force
from pipeline.tasks.changing import changed, live_values

POLL_S = 1.0
CLOSE_S = 1.0  # a folder that hangs keeps no run from its end


class ChangeWatch:
    """The file of a run with what was changed since its start.

    Invariant: ``spec`` differs from the file in keys alone that may change while it runs. The
    folder is read by a thread of its own: one that hangs (a network's) holds up nothing.
    """

    def __init__(self, spec: PipelineSpec) -> None:
        self.spec = spec
        self._file = spec
        self._store = ChangeStore.of(spec)
        self._seen = self._store.signature()
        # What was changed before the start is in ``spec`` by now, or the file says another thing.
        self._known = {change.at_us for change in self._store.changes()}
        self._found: queue.SimpleQueue[PipelineSpec] = queue.SimpleQueue()
        self._trouble: str | None = None
        self._told: str | None = None
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="change-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def changed(self) -> list[str]:
        """The keys that have another value than before, which ``spec`` has now."""
        before = live_values(self.spec)
        while not self._found.empty():
            self.spec = self._found.get()
        return [key for key, value in live_values(self.spec).items() if before[key] != value]

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
                self._trouble = f"{why} (what was in force before stays)"

    def look(self) -> None:
        """Reads what was changed since; raises InvalidInput where that cannot be read."""
        signature = self._store.signature()
        if signature == self._seen or signature is None:
            return
        new = tuple(each for each in self._store.changes() if each.at_us not in self._known)
        said = live_values(self._file)
        values = {key: found.value for key, found in in_force(new).items() if key in said}
        self._found.put(changed(self._file, values))
        self._seen = signature
