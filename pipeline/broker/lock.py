"""The lock file of the embedded Kafka: which jars, and what their bytes must be."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import NamedTuple

_KAFKA = ("org.apache.kafka", "kafka_2.13")


class Jar(NamedTuple):
    """One pinned jar: Maven coordinate, SHA-256 (lower-case hex) and size."""

    group: str
    artifact: str
    version: str
    sha256: str
    size_bytes: int

    @property
    def coordinate(self) -> str:
        """``group:artifact:version``, as Maven writes it."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def filename(self) -> str:
        """The file's name in every Maven repository."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def repository_path(self) -> str:
        """Where the file lies below the root of every Maven repository."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.filename}"


def locked() -> tuple[Jar, ...]:
    """The pinned jars, in the order of the lock file, which is also that of the class path."""
    return parse(files("pipeline.broker").joinpath("kafka.lock").read_text(encoding="utf-8"))


def parse(text: str) -> tuple[Jar, ...]:
    """Read ``group:artifact:version sha256 bytes`` a line; ``#`` begins a comment.

    Raises ``ValueError`` on a line that pins nothing: a jar without a hash is never accepted.
    """
    jars = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([\w.-]+):([\w.-]+):([\w.-]+) ([0-9a-f]{64}) ([0-9]+)", line.strip())
        if match is None:
            raise ValueError(f"kafka.lock: not a pinned jar: {line!r}")
        group, artifact, version, sha256, size = match.groups()
        jars.append(Jar(group, artifact, version, sha256, int(size)))
    return tuple(jars)


def kafka_version() -> str:
    """The version of Kafka that the lock pins."""
    return next(jar.version for jar in locked() if (jar.group, jar.artifact) == _KAFKA)
