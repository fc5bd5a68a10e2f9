"""The embedded broker: a real Apache Kafka of one node, for development, tests and the demo.

``start`` is done when the broker answers, ``stop`` when its process is gone. Both may be
called again at any time: a broker that runs is found, one that died leaves nothing in the way.
"""

from __future__ import annotations

import base64
import subprocess
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.broker import process, settings
from pipeline.broker.class_archive import ClassArchive
from pipeline.broker.data_dir import DataDir
from pipeline.broker.jars import Say, ensure_jars, jar_paths
from pipeline.broker.ports import HOST, USUAL_PORT, choose_port, free_port
from pipeline.broker.probe import cluster_id
from pipeline.broker.process import PidFile
from pipeline.errors import InvalidInput, Problem, Unreachable

__all__ = ["USUAL_PORT", "Broker", "start", "status", "stop"]

_DISK_BYTES_MIN = 512 << 20
_START_PATIENCE_S = 90.0
_STOP_PATIENCE_S = 15.0
_PORT_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that answered: its address, its process, and where its data lies."""

    host: str
    port: int
    pid: int
    data_dir: Path

    @property
    def bootstrap(self) -> str:
        """``HOST:PORT``, as clients want it."""
        return f"{self.host}:{self.port}"


class _PortTaken(Unreachable):
    """Another program was faster to take a port that was free a moment ago."""


def start(
    port: int | None = None, data_dir: Path | None = None, *, on_progress: Say | None = None
) -> Broker:
    """The broker of this data directory, answering; started where it does not run.

    ``port``: a number is a demand; 0 means any free port; ``None`` means :data:`USUAL_PORT`
    where it is free, else any free port. ``data_dir``: see :class:`DataDir`. ``on_progress``
    is told what takes time, a line at a time.

    Errors: ``InvalidInput`` (busy port, disk, permission, missing extra, another port than the
    one it runs on), ``Unreachable`` (jars cannot be fetched, Java ends or does not answer),
    ``MotetError`` (a jar whose hash differs).
    """
    say: Say = on_progress or (lambda _: None)
    settings.java()  # without the extra nothing is written or fetched
    data = DataDir.of(data_dir)
    with data.locked(say):
        running = _running(data)
        if running is not None:
            return _adopt(running, data, port, say)
        _clear_stale(data, say)
        chosen = choose_port(port)
        data.check_disk(_DISK_BYTES_MIN)
        jars = ensure_jars(say)
        for _ in range(_PORT_ATTEMPTS - 1):
            try:
                return _launch(data, chosen, jars, say)
            except _PortTaken:
                chosen = choose_port(port)
        return _launch(data, chosen, jars, say)


def stop(data_dir: Path | None = None) -> bool:
    """End the broker of this data directory and wait until its process is gone.

    Its data stays. Returns whether one was running.
    """
    data = DataDir.of(data_dir)
    if not data.is_used:
        return False
    with data.locked(lambda _: None):
        running = _running(data)
        if running is not None:
            ended = process.end(running.pid, data.properties, _STOP_PATIENCE_S)
            if ended and data.classes.exists():
                with suppress(OSError):  # the next one to end writes it again
                    ClassArchive.of(jar_paths()).keep(data.classes)
        data.classes.unlink(missing_ok=True)
        data.pid_file.unlink(missing_ok=True)
        return running is not None


def status(data_dir: Path | None = None) -> Broker | None:
    """The broker of this data directory where its process lives and answers, else ``None``.

    What answers must be the cluster of this data directory, not just anything on its port.
    """
    data = DataDir.of(data_dir)
    running = _running(data)
    return running if running and _answers(running, data) else None


def _running(data: DataDir) -> Broker | None:
    """The broker whose process lives, whether it answers or not."""
    found = PidFile.read(data.pid_file)
    if found is None or not process.is_ours(found.pid, data.properties):
        return None
    return Broker(HOST, found.port, found.pid, data.path)


def _answers(broker: Broker, data: DataDir) -> bool:
    found = cluster_id(broker.host, broker.port)
    return found is not None and found == data.cluster_id


def _adopt(running: Broker, data: DataDir, port: int | None, say: Say) -> Broker:
    if port and port != running.port:
        why = f"the broker of {data.path} runs on port {running.port}"
        remedy = "leave --port out, stop it first (`motet kafka stop`), or give another --data"
        raise InvalidInput(Problem("--port", str(port), why, remedy))
    say(f"Kafka runs already, process {running.pid}, data in {data.path}")
    _await_answer(running, data)
    return running


def _clear_stale(data: DataDir, say: Say) -> None:
    if data.pid_file.exists():
        found = PidFile.read(data.pid_file)
        whose = f"process {found.pid} is gone or another program's" if found else "it is damaged"
        say(f"removing a stale {data.pid_file}: {whose}")
        data.pid_file.unlink()


def _launch(data: DataDir, port: int, jars: list[Path], say: Say) -> Broker:
    """Start Kafka and wait until it answers; what fails or is interrupted leaves no process."""
    text = settings.render_properties(HOST, port, free_port(other_than=port), data.logs)
    data.properties.write_text(text, encoding="utf-8")
    archive = ClassArchive.of(jars)
    archive.prepare(say)
    if data.cluster_id is None:
        _format(data, jars, archive, say)
    data.rotate_log()
    say(f"starting Kafka on {HOST}:{port}, data in {data.path}")
    main = ("kafka.Kafka", str(data.properties))
    options = archive.options(data.classes)
    command = settings.java_command(data.path, jars, *main, archive=options)
    pid = process.spawn(command, settings.java_environment(), data.server_log)
    broker = Broker(HOST, port, pid, data.path)
    try:
        # Written before it answers: `stop` finds it even where this process is killed now.
        PidFile(pid, port).write(data.pid_file)
        _await_answer(broker, data)
    except BaseException:
        process.end(pid, data.properties, _STOP_PATIENCE_S)
        data.classes.unlink(missing_ok=True)
        data.pid_file.unlink(missing_ok=True)
        raise
    return broker


def _format(data: DataDir, jars: list[Path], archive: ClassArchive, say: Say) -> None:
    """Write the node's identity and the first metadata, once in a data directory's life."""
    say(f"preparing the data directory {data.path}")
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # Kafka's tool takes an id that begins with a dash for an option.
    cluster = "A" + cluster[1:]
    main = ("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(data.properties))
    done = subprocess.run(
        settings.java_command(data.path, jars, *main, heap="128m", archive=archive.options()),
        env=settings.java_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        why = process.telling_line(done.stderr or done.stdout)
        raise Unreachable(
            f"Kafka cannot prepare {data.path}: {why}; try another folder (--data DIR)"
        )


def _await_answer(broker: Broker, data: DataDir) -> None:
    def is_gone() -> bool:
        return not process.is_ours(broker.pid, data.properties)

    in_time = process.wait_until(lambda: is_gone() or _answers(broker, data), _START_PATIENCE_S)
    if is_gone():
        why = process.telling_line(data.log_text())
        kind = _PortTaken if "Address already in use" in why else Unreachable
        raise kind(
            f"Kafka ended while it started: {why}; the whole log is {data.server_log}; "
            "start it again, with another folder (--data DIR) where its data is damaged"
        )
    if not in_time:
        raise Unreachable(
            f"Kafka did not answer on {broker.bootstrap} within {_START_PATIENCE_S:.0f} s; "
            f"its log is {data.server_log}; stop it (`motet kafka stop`) and start it again "
            "when the machine has more time and memory to spare"
        )
