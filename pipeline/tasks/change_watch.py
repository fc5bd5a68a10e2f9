"""Sees while a pipeline runs that ``motet scale`` or ``motet apply`` has changed something."""

from __future__ import annotations

import queue

from pipeline.spec import PipelineSpec
from pipeline.spec.change_store import ChangeStore, in_force
from pipeline.tasks.changing import changed, live_values
from pipeline.tasks.folder_watch import FolderWatch


class ChangeWatch(FolderWatch):
    """The file of a run with what was changed since its start.

    Invariant: ``spec`` differs from the file in keys alone that may change while it runs.
    """

    def __init__(self, spec: PipelineSpec) -> None:
        super().__init__("change-watch", "what was in force before stays")
        self.spec = spec
        self._file = spec
        self._store = ChangeStore.of(spec)
        self._seen = self._store.signature()
        # What was changed before the start is in ``spec`` by now, or the file says another thing.
        self._known = {change.at_us for change in self._store.changes()}
        self._found: queue.SimpleQueue[PipelineSpec] = queue.SimpleQueue()

    def changed(self) -> list[str]:
        """The keys that have another value than before, which ``spec`` has now."""
        before = live_values(self.spec)
        while not self._found.empty():
            self.spec = self._found.get()
        return [key for key, value in live_values(self.spec).items() if before[key] != value]

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
