"""Sees while a pipeline runs that another head was deployed for its file."""

from __future__ import annotations

import queue
from collections.abc import Collection, Mapping

from pipeline.clock import wall_us
from pipeline.errors import InvalidInput, Problem
from pipeline.fusion.head_files import LoadedHead
from pipeline.fusion.rules import Fuser, head_in_force
from pipeline.spec import PipelineSpec
from pipeline.spec.head_card import KEY
from pipeline.spec.head_store import HeadStore
from pipeline.tasks.folder_watch import FolderWatch
from pipeline.tasks.results import model_name
from pipeline.tasks.view import HeadView


class HeadWatch(FolderWatch):
    """The head that a run has, and the next one.

    Invariant: ``head`` was read whole and fits the file; where what was deployed does not, the
    head before stays, and ``view`` says why.
    """

    def __init__(self, spec: PipelineSpec, lengths: Mapping[str, int]) -> None:
        """``lengths``: as ``check_pipeline`` gave them. Raises InvalidInput."""
        super().__init__("head-watch", "the head before stays")
        self._spec = spec
        self._lengths = lengths
        self._store = HeadStore.of(spec)
        self._seen = self._signature()
        self.head = head_in_force(spec)
        self.fuser()
        self.model = model_name(spec, self.sha256)
        self._since_us = wall_us()
        self._found: queue.SimpleQueue[LoadedHead | None] = queue.SimpleQueue()
        self._moved = False  # to another folder, which was not read yet

    @property
    def sha256(self) -> str | None:
        return None if self.head is None else self.head.sha256

    def fuser(self) -> Fuser:
        """With ``head``."""
        return Fuser.under(self._spec, self._lengths, self.head)

    @property
    def line(self) -> str:
        """For the user, once ``head`` has changed."""
        named = "no head" if self.head is None else f"head {self.head.sha256[:12]}"
        return f"motet: {named} takes over, for windows that close from now on"

    def start(self) -> None:
        """Looks every POLL_S from now on, where the file names a head."""
        if self._store is not None:
            super().start()

    def follow(self, spec: PipelineSpec) -> None:
        """The file names another folder: its head is taken once it was read, by the thread."""
        self._spec, self._store = spec, HeadStore.of(spec)
        self._moved = True
        if self._store is None:
            self._found.put(None)
        elif self._thread is None:
            self.start()

    def changed(self) -> bool:
        """Whether ``head`` is another one than before; called by the host's one thread."""
        before = self.sha256
        while not self._found.empty():
            self.head = self._found.get()
        if self.sha256 == before:
            return False
        self.model = model_name(self._spec, self.sha256)
        self._since_us = wall_us()
        return True

    def view(self, told: Collection[str | None]) -> HeadView | None:
        """``told``: the hashes that the fusion halves say they have."""
        if self._store is None:
            return None
        return HeadView(
            sha256=self.sha256,
            kind=None if self.head is None else self.head.spec.kind,
            since_us=self._since_us,
            everywhere=bool(told) and all(each == self.sha256 for each in told),
            trouble=self._trouble,
        )

    # -- how ------------------------------------------------------------------------------

    def look(self) -> None:
        """Reads what was deployed since; raises InvalidInput where that is no head of the file."""
        moved, store = self._moved, self._store
        signature = self._signature()
        if store is None or (signature == self._seen and not moved):
            return
        if signature is None and not moved:
            remedy = "put it back from a copy, or deploy a head again"
            named = str(self._spec.fusion.head)
            raise InvalidInput(Problem(KEY, named, f"{store.path} is gone", remedy))
        head = head_in_force(self._spec)
        Fuser.under(self._spec, self._lengths, head)
        if store is self._store:
            self._found.put(head)
            self._seen, self._moved = signature, False

    def _signature(self) -> tuple[int, int, int] | None:
        """Another one after every deployment, since that renames a new file."""
        if self._store is None:
            return None
        try:
            found = self._store.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
