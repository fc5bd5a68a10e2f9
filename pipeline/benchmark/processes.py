"""CPU time and memory of a program with all that it starts, by a mark in their environment.

Ray's daemons are no children of the driver for long, and outlive or precede each other; but all of
them inherit its environment. Linux only (``/proc``).
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pipeline import clock
from pipeline.errors import InvalidInput, Problem

MARK = "MOTET_BENCH_RUN"
LOOK_S = 0.05
MEMORY_LOOKS = 10  # every so many looks: memory costs more to ask for
LOOKS_KEPT = 200_000
YOUNG_US = 10_000_000  # a process that is about to become another program has its maker's mark
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_ACTOR = re.compile(r"ray::(\w+)")


class Look(NamedTuple):
    """At a moment of the monotonic clock: CPU seconds of all so far."""

    at_us: int
    cpu_s: float


class _Process(NamedTuple):
    name: str
    cpu_s: float


class Processes:
    """All processes with ``MOTET_BENCH_RUN=mark`` in their environment, looked at all the time.

    Invariant: what a process had at its last look stays counted after its end; so a total lacks
    at most LOOK_S of each that ended.
    """

    def __init__(self, mark: str) -> None:
        if not Path("/proc/self/stat").exists():
            why = f"processes are counted by /proc, which {sys.platform} has not"
            raise InvalidInput(Problem("motet bench", "", why, "run it on Linux"))
        self._mark = f"{MARK}={mark}".encode()
        self._ours: dict[int, _Process] = {}
        self._others = _there()  # the mark is new: none of these has it
        self._young: dict[int, int] = {}  # without the mark, since when they were seen
        self._looks: deque[Look] = deque(maxlen=LOOKS_KEPT)
        self._by_name: dict[str, deque[Look]] = {}
        self.peak_bytes = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="processes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def cpu_s(self, from_us: int, to_us: int) -> float:
        """CPU seconds of all between two moments of the monotonic clock."""
        with self._lock:
            looks = list(self._looks)
        return _at(looks, to_us) - _at(looks, from_us)

    def cpu_by_name(self, from_us: int, to_us: int) -> dict[str, float]:
        """The same by kind of process: Ray's actors by class, others by program."""
        with self._lock:
            named = {name: list(looks) for name, looks in self._by_name.items()}
        found = {name: _at(looks, to_us) - _at(looks, from_us) for name, looks in named.items()}
        return {name: spent_s for name, spent_s in sorted(found.items()) if spent_s >= 0.005}

    def pids(self, name: str) -> list[int]:
        """Of a kind, those that were there at the last look."""
        with self._lock:
            return [pid for pid, one in self._ours.items() if one.name == name and _lives(pid)]

    def names(self) -> set[str]:
        with self._lock:
            return {one.name for one in self._ours.values()}

    def _run(self) -> None:
        count = 0
        while True:
            self._look(memory=count % MEMORY_LOOKS == 0)
            count += 1
            if self._stop.wait(LOOK_S):
                self._look(memory=False)
                return

    def _look(self, memory: bool) -> None:
        at_us, size_bytes = clock.monotonic_us(), 0
        there = _there()
        self._others &= there
        self._young = {pid: since_us for pid, since_us in self._young.items() if pid in there}
        for pid in there - self._others:
            if pid not in self._ours and not self._is_ours(pid):
                if at_us - self._young.setdefault(pid, at_us) > YOUNG_US:
                    self._others.add(pid)
                continue
            spent = _cpu_s(pid)
            if spent is None:
                continue
            before = self._ours.get(pid)
            # One that becomes an actor is called so from then on.
            name = _name(pid) or (before.name if before else "python")
            with self._lock:
                self._ours[pid] = _Process(name, spent)
            if memory:
                size_bytes += _bytes(pid)
        sums: dict[str, float] = {}
        for one in self._ours.values():
            sums[one.name] = sums.get(one.name, 0.0) + one.cpu_s
        with self._lock:
            self.peak_bytes = max(self.peak_bytes, size_bytes)
            self._looks.append(Look(at_us, sum(sums.values())))
            for name, spent in sums.items():
                own = self._by_name.setdefault(name, deque(maxlen=LOOKS_KEPT))
                own.append(Look(at_us, spent))

    def _is_ours(self, pid: int) -> bool:
        try:
            return self._mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False


def _there() -> set[int]:
    return {int(entry) for entry in os.listdir("/proc") if entry.isdigit()}


def cpu_of(pid: int) -> float:
    """CPU seconds of one process so far; 0 where it is gone."""
    return _cpu_s(pid) or 0.0


def _at(looks: list[Look], at_us: int) -> float:
    """Between two looks in proportion; before the first nothing was spent."""
    before = Look(at_us, 0.0)
    for look in looks:
        if look.at_us >= at_us:
            span_us = look.at_us - before.at_us
            share = (at_us - before.at_us) / span_us if span_us > 0 else 1.0
            return before.cpu_s + share * (look.cpu_s - before.cpu_s)
        before = look
    return before.cpu_s


def _cpu_s(pid: int) -> float | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def _name(pid: int) -> str | None:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    first = words[0].decode(errors="replace")
    actor = _ACTOR.match(first)
    if actor:
        return actor[1]
    return first.split(" ")[0].rpartition("/")[2].rstrip(":") or None


def _bytes(pid: int) -> int:
    """Its share of memory: pages that several processes have count in parts (PSS)."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0
