"""The embedded broker's data directory: what lies in it, and who may work on it.

``log/`` is Kafka's own data. Beside it: ``server.properties`` (written at every start),
``server.log`` (and ``server.log.1`` of the start before), ``broker.json`` (process and port),
for a while ``classes.jsa`` (see ``class_archive.py``) and ``lock`` (held during a start or a
stop; also the mark that the directory is one of ours).
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.broker.process import wait_until
from pipeline.errors import InvalidInput, MotetError, Problem

_LOCK_PATIENCE_S = 180.0


@dataclass(frozen=True, slots=True)
class DataDir:
    """One data directory. Its path has one spelling: by it a process is recognised."""

    path: Path

    @classmethod
    def of(cls, given: Path | None) -> DataDir:
        """The directory that was given, or the default: ``$XDG_DATA_HOME/motet/kafka``."""
        home = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "motet" / "kafka"
        path = (given or home).expanduser().resolve()
        if re.search(r"[,\x00-\x1f]", str(path)):
            why = "a comma or a control character in the path means something else to Kafka"
            raise InvalidInput(Problem("--data", repr(str(path)), why, "give another folder"))
        return cls(path)

    @property
    def logs(self) -> Path:
        """Kafka's own data."""
        return self.path / "log"

    @property
    def properties(self) -> Path:
        """What Kafka is started with."""
        return self.path / "server.properties"

    @property
    def server_log(self) -> Path:
        """What Kafka writes to its standard output and error."""
        return self.path / "server.log"

    @property
    def pid_file(self) -> Path:
        """Process and port of the last start."""
        return self.path / "broker.json"

    @property
    def classes(self) -> Path:
        """Where a first Kafka writes an archive of its classes as it ends."""
        return self.path / "classes.jsa"

    @property
    def is_used(self) -> bool:
        """Whether a start was ever tried here."""
        return (self.path / "lock").exists()

    @property
    def cluster_id(self) -> str | None:
        """The cluster whose data this is; ``None`` before it was prepared."""
        try:
            text = (self.logs / "meta.properties").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        found = re.search(r"^cluster\.id=(.+)$", text, re.MULTILINE)
        return found[1] if found else None

    def log_text(self) -> str:
        """What Kafka has written since its last start."""
        try:
            return self.server_log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def rotate_log(self) -> None:
        """Keep the log of the start before, and no older one."""
        if self.server_log.exists():
            os.replace(self.server_log, self.path / "server.log.1")

    def check_disk(self, needed_bytes: int) -> None:
        """Raise where the disk has less free than that."""
        free_bytes = shutil.disk_usage(self.path).free
        if free_bytes < needed_bytes:
            raise InvalidInput(
                f"data directory {self.path}: {free_bytes >> 20} MiB are free on its disk and "
                f"Kafka needs {needed_bytes >> 20}; free some, or give a folder on another disk "
                "(--data DIR)"
            )

    @contextmanager
    def locked(self, say: Callable[[str], None]) -> Iterator[None]:
        """Hold the directory, making it where needed: one start or stop at a time.

        Whatever the file system refuses meanwhile becomes ``InvalidInput``; a directory that
        holds something else is refused, since files in it would be overwritten.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not self.is_used and any(self.path.iterdir()):
                raise InvalidInput(
                    f"data directory {self.path}: holds other files; give a new or an empty "
                    "folder (--data DIR)"
                )
            with (self.path / "lock").open("w") as file:
                self._lock(file.fileno(), say)
                yield
        except OSError as error:
            where = f" {error.filename}" if error.filename else ""
            raise InvalidInput(
                f"data directory {self.path}: cannot be used ({error.strerror}:{where}); "
                "make it writable, or give another (--data DIR)"
            ) from error

    def _lock(self, fd: int, say: Callable[[str], None]) -> None:
        if _try_lock(fd):
            return
        say(f"another start or stop is at work on {self.path}; waiting for it")
        if not wait_until(lambda: _try_lock(fd), _LOCK_PATIENCE_S):
            raise MotetError(
                f"data directory {self.path}: another start or stop is still at work on it; "
                "try again later"
            )


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
