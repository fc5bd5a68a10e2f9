"""`motet train` in a process of its own, beside the run: one at a time, watched, and bounded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Sequence
from typing import IO, Any, NamedTuple

from pipeline import clock
from pipeline.errors import Refused

NICE = 10
WALL_S_MAX = 1_800.0
LINES_KEPT = 40
LINE_CHARS_MAX = 400
ANSWER_BYTES_MAX = 4 << 20
END_S = 5.0  # between the signal that asks it to end and the one that does not
_PROGRAM = "import sys; from pipeline.cli.app import main; sys.exit(main())"


class Ended(NamedTuple):
    """How a training ended: the JSON that it printed, or why there is none."""

    told: dict[str, Any] | None
    error: str | None


class TrainingProcess:
    """At most one training; it is ended with the run.

    Invariant: ``view`` is of the training that was started last; once it says that none runs,
    what that one has written stands.
    """

    def __init__(self, wall_s_max: float = WALL_S_MAX) -> None:
        self._wall_s_max = wall_s_max
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._began_us = 0
        self._step, self._share = "", None
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._ended: Ended | None = None
        self._why_ended: str | None = None
        self._closed = False

    def start(self, arguments: Sequence[str]) -> None:
        """Runs ``motet`` with these arguments; raises Refused where one runs already."""
        with self._lock:
            if self._closed:
                raise Refused("the run is about to end")
            if self._thread is not None and self._thread.is_alive():
                raise Refused("a training is at work already; stop it first")
            self._began_us = clock.monotonic_us()
            self._step, self._share, self._ended, self._why_ended = "starting", None, None, None
            self._lines.clear()
            answer = tempfile.TemporaryFile()  # noqa: SIM115 (the thread closes it)
            self._process = _started(arguments, answer)
            self._thread = threading.Thread(
                target=self._watch, args=(self._process, answer), name="teach-train", daemon=True
            )
            self._thread.start()

    def view(self) -> dict[str, Any] | None:
        """What ``/api/teach`` says of it, without what it printed; None before the first."""
        with self._lock:
            if self._thread is None:
                return None
            return {
                "running": self._ended is None,
                "step": self._step,
                "share": self._share,
                "seconds": (clock.monotonic_us() - self._began_us) / 1e6
                if self._ended is None
                else None,
                "error": None if self._ended is None else self._ended.error,
                "lines": list(self._lines),
            }

    def told(self) -> dict[str, Any] | None:
        """What the training that ended well has printed; None where the last one did not."""
        with self._lock:
            return None if self._ended is None else self._ended.told

    def stop(self, why: str = "it was stopped") -> None:
        """Asks it to end, and returns; where it does not, it is ended."""
        with self._lock:
            process = self._process
            if process is None or process.poll() is not None:
                return
            self._why_ended = self._why_ended or why
        _signal(process, signal.SIGTERM)
        late = threading.Timer(END_S, _signal, [process, signal.SIGKILL])
        late.daemon = True
        late.start()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            thread, process = self._thread, self._process
        self.stop("the run has ended")
        if thread is not None and process is not None:
            thread.join(END_S)
            _signal(process, signal.SIGKILL)
            thread.join(END_S)

    # -- the thread that watches it -----------------------------------------------------------

    def _watch(self, process: subprocess.Popen[str], answer: IO[bytes]) -> None:
        long = f"it took longer than {self._wall_s_max:g} s; label less, or train by `motet train`"
        late = threading.Timer(self._wall_s_max, self.stop, [long])
        late.daemon = True
        late.start()
        assert process.stderr is not None
        try:
            with process.stderr:
                for line in process.stderr:
                    self._take(line.rstrip()[:LINE_CHARS_MAX])
            code = process.wait()
        finally:
            late.cancel()
        with answer, self._lock:
            answer.seek(0)
            self._ended = self._ending(code, answer.read(ANSWER_BYTES_MAX))

    def _take(self, line: str) -> None:
        """A line of stderr: how far it is, or words for the user."""
        with self._lock:
            if line.startswith('{"progress"'):
                try:
                    told = json.loads(line)
                    self._step = str(told["progress"])
                    total = told["total"]
                    self._share = min(1.0, told["done"] / total) if total else None
                except (ValueError, KeyError, TypeError):
                    self._lines.append(line)
            elif line:
                self._lines.append(line)

    def _ending(self, code: int, answer: bytes) -> Ended:
        if code == 0:
            try:
                return Ended(json.loads(answer), None)
            except ValueError:
                return Ended(None, "it printed no figures")
        errors = [line for line in self._lines if line.startswith("motet: error: ")]
        last = errors or list(self._lines)[-1:]
        said = "; ".join(line.removeprefix("motet: error: ") for line in last)
        return Ended(None, self._why_ended or said or f"it ended with exit code {code}")


def _started(arguments: Sequence[str], answer: IO[bytes]) -> subprocess.Popen[str]:
    """In a group of its own: Ctrl-C in the terminal is for the run, which ends it in its turn."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, "-c", _PROGRAM, *arguments]
    return subprocess.Popen(
        ["nice", "-n", str(NICE), *command],
        stdin=subprocess.DEVNULL,
        stdout=answer,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, **threads, "MOTET_PROGRESS": "json", "MOTET_LOG_FORMAT": "text"},
        start_new_session=True,
    )


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """To its whole group; nothing where it has ended."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return  # it ended meanwhile
