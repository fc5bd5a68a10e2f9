"""The broker's process: which one it is, whether it lives, starting it and ending it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline import clock
from pipeline.errors import MotetError

_POLL_S = 0.02

# What Java's launcher writes around the line that tells, e.g. too little memory for the heap.
_LAUNCHER_FRAME = re.compile(
    r"Error: Could not create the Java Virtual Machine|Error: A fatal exception has occurred"
    r"|Error occurred during initialization of (boot layer|VM)"
)

_children: set[int] = set()
"""What this very process spawned and has not yet seen dead."""


@dataclass(frozen=True, slots=True)
class PidFile:
    """What a start leaves behind: its process and its address.

    The file alone proves nothing: the process may be gone and its number given to another
    program. Whoever reads it asks :func:`is_ours` too.
    """

    pid: int
    port: int

    def write(self, path: Path) -> None:
        """Replace the file in one step: a reader never sees half of it."""
        scratch = path.with_suffix(".new")
        scratch.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
        os.replace(scratch, path)

    @classmethod
    def read(cls, path: Path) -> PidFile | None:
        """What the file says; ``None`` where there is none or where it is damaged."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(int(found["pid"]), int(found["port"]))
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return None


def is_ours(pid: int, properties: Path) -> bool:
    """Whether ``pid`` lives and is the Kafka that was started with this properties file."""
    if pid in _children:
        # A child keeps its number until it is waited for, and for a moment after it was
        # spawned its command line still reads as empty.
        with suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                return True
        _children.discard(pid)
    return _command_line(pid).endswith(f" kafka.Kafka {properties}")


def _command_line(pid: int) -> str:
    """A process's command line, words parted by spaces; empty where there is no such process."""
    if Path("/proc/self/cmdline").exists():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return os.fsdecode(words).replace("\0", " ").rstrip()
    ps = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
    return subprocess.run(ps, capture_output=True, text=True, check=False).stdout.rstrip()


def spawn(command: list[str], env: dict[str, str], log: Path) -> int:
    """Start a process that outlives this one, in a session of its own, output to ``log``."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # Not subprocess.Popen: its object would complain that the process still runs.
    pid = os.posix_spawn(
        command[0],
        command,
        env,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    _children.add(pid)
    return pid


def end(pid: int, properties: Path, patience_s: float) -> bool:
    """Ask the process to end, then kill it; whether it ended by itself."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        # It may end between any two of these lines; what then has its number is not ours.
        if not is_ours(pid, properties):
            return True
        with suppress(ProcessLookupError):
            os.kill(pid, sign)
        if wait_until(lambda: not is_ours(pid, properties), patience_s):
            return sign is signal.SIGTERM
    raise MotetError(f"process {pid} does not end, not even when it is killed; look at its disk")


def wait_until(holds: Callable[[], bool], patience_s: float) -> bool:
    """Ask again and again until it holds; false when patience ran out."""
    until_us = clock.monotonic_us() + int(patience_s * 1e6)
    while not holds():
        if clock.monotonic_us() > until_us:
            return False
        time.sleep(_POLL_S)
    return True


def telling_line(log_text: str) -> str:
    """The line of a Java program's log that says why it ended.

    The innermost cause of the last stack trace, or the one around it where that says the same
    and more; without causes the last line that names an error, else the last line.
    """
    lines = [line.strip() for line in log_text.splitlines()]
    lines = [line for line in lines if line and not _LAUNCHER_FRAME.match(line)]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    if causes:
        told = causes.pop()
        while causes and told.partition(": ")[2].rstrip(".") in causes[-1]:
            told = causes.pop()
        return told
    errors = [line for line in lines if re.search(r"\b(ERROR|FATAL)\b|(Exception|Error)\b", line)]
    return (errors or lines or ["its log is empty"])[-1]
