"""Archives of the embedded Kafka's classes, with which Java starts it in half the time.

Java's class data sharing (CDS) maps classes that are read, checked and linked already. The Java of
the wheel has no archive of its own classes, so one is made before the first start, and Kafka's are
written by Kafka itself, as it ends for the first time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.broker import settings
from pipeline.broker.jars import Say, cache_dir

_VERSIONS_MAX = 3  # of Java and Kafka, 60 MB each: the oldest goes
_DUMP_S_MAX = 60.0
_SCRATCH = ".new-"


@dataclass(frozen=True, slots=True)
class ClassArchive:
    """The archives of one Java and one set of jars, in a folder that is named by both.

    A file in it is whole and stays as it is: it comes under a name of its own and is then moved.
    Java itself looks whether an archive is that of its jars, and goes on without one that is not.
    """

    folder: Path

    @classmethod
    def of(cls, jars: Sequence[Path]) -> ClassArchive:
        """Raises ``OSError`` where a jar is not there."""
        state = hashlib.sha256()
        for path in (settings.java(), *jars):
            found = path.stat()  # Java itself asks the same of a jar whose classes are archived
            state.update(os.fsencode(path) + f" {found.st_size} {found.st_mtime_ns}\n".encode())
        name = state.hexdigest()[:16]
        return cls(cache_dir().parent / "classes" / name)

    @property
    def _java(self) -> Path:
        return self.folder / "java.jsa"

    @property
    def _kafka(self) -> Path:
        return self.folder / "kafka.jsa"

    def options(self, written: Path | None = None) -> list[str]:
        """Java's, for the archives that are there.

        ``written``: where this process may write Kafka's as it ends, if it is not there yet.
        """
        if os.pathsep in str(self.folder) or not self._java.exists():
            return []
        if self._kafka.exists():
            return [f"-XX:SharedArchiveFile={self._java}{os.pathsep}{self._kafka}"]
        options = [f"-XX:SharedArchiveFile={self._java}"]
        return options if written is None else [*options, f"-XX:ArchiveClassesAtExit={written}"]

    def prepare(self, say: Say) -> None:
        """Makes the archive of Java's own classes where there is none; goes on without it."""
        if self._java.exists():
            return
        say("making an archive of Java's classes, once: later starts take half the time")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_old()
            with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=self.folder) as scratch:
                made = Path(scratch) / "java.jsa"
                self._dump(made)
                with suppress(FileExistsError):  # another process was faster
                    os.link(made, self._java)
        except (OSError, subprocess.SubprocessError) as error:
            say(f"{self.folder}: there is no archive of classes ({error}); starts take longer")

    def keep(self, written: Path) -> None:
        """Takes what a process wrote as it ended."""
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=self.folder) as scratch:
            copy = shutil.copyfile(written, Path(scratch) / "kafka.jsa")
            os.replace(copy, self._kafka)

    def _dump(self, made: Path) -> None:
        subprocess.run(
            [*settings.java_start(), "-Xshare:dump", f"-XX:SharedArchiveFile={made}"],
            env=settings.java_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_DUMP_S_MAX,
            check=True,
        )

    def _remove_old(self) -> None:
        others = [path for path in self.folder.parent.iterdir() if path != self.folder]
        others.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for folder in others[_VERSIONS_MAX - 1 :]:
            shutil.rmtree(folder, ignore_errors=True)
