"""Disk, memory, shared memory, open files, processors, and the clock."""

from __future__ import annotations

import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline import clock
from pipeline.cli.doctor_check import Check, error, ok, warning
from pipeline.tasks.machine import this_machine

_MIB, _GIB = 1 << 20, 1 << 30
_DISK_MIN, _DISK_GOOD = 512 * _MIB, 2 * _GIB
_MEMORY_MIN, _MEMORY_GOOD = 1 * _GIB, 4 * _GIB
_SHARED_GOOD = 1 * _GIB
_FILES_MIN, _FILES_GOOD = 512, 4096
_SHARED = Path("/dev/shm")  # where Ray keeps its objects on Linux
_MEMINFO = Path("/proc/meminfo")
_MOTET_BORN_US = 1_735_689_600_000_000  # 2025-01-01: a clock before it was never set


def checks() -> Iterator[Check]:
    yield processors()
    yield memory()
    if _SHARED.is_dir():
        yield shared_memory()
    yield from disks()
    yield open_files()
    yield wall_clock()


def processors() -> Check:
    count = this_machine().cpus
    if count > 1:
        return ok("processors", str(count))
    remedy = "use two or more: reading and encoding share the one"
    return warning("processors", "1", remedy)


def memory() -> Check:
    total, free = this_machine().memory_bytes, _available_bytes()
    shown = f"{total / _GIB:.1f} GiB" + ("" if free is None else f", {free / _GIB:.1f} available")
    usable = total if free is None else min(total, free)
    if usable < _MEMORY_MIN:
        return error("memory", shown, "free some: a run takes 1 GiB at least")
    if usable < _MEMORY_GOOD:
        remedy = "4 GiB let Kafka, Ray and a pipeline run together; `--local` does without Ray"
        return warning("memory", shown, remedy)
    return ok("memory", shown)


def _available_bytes() -> int | None:
    """What could be given to a new process; None where the system does not say."""
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return None


def shared_memory() -> Check:
    total = shutil.disk_usage(_SHARED).total
    shown = f"{total / _GIB:.1f} GiB in {_SHARED}"
    if total >= _SHARED_GOOD:
        return ok("shared memory", shown)
    remedy = "Ray keeps its objects there, and uses the disk instead: docker run --shm-size=2g"
    return warning("shared memory", shown, remedy)


def disks() -> Iterator[Check]:
    """The disks of the embedded Kafka's data, of temporary files (Ray's), and of this folder."""
    from pipeline.broker.data_dir import DataDir

    data = DataDir.of(None).path
    folders = {
        "disk": Path.cwd(),
        "disk of kafka": data,
        "disk of ray": Path(tempfile.gettempdir()),
    }
    for name, folder in folders.items():
        there = next(each for each in (folder, *folder.parents) if each.exists())
        free = shutil.disk_usage(there).free
        shown = f"{free / _GIB:.1f} GiB free at {there}"
        if free < _DISK_MIN:
            yield error(name, shown, "free some: 512 MiB are needed")
        elif free < _DISK_GOOD:
            yield warning(name, shown, "free some, or use another disk: 2 GiB are soon full")
        else:
            yield ok(name, shown)


def open_files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = "no limit" if hard == resource.RLIM_INFINITY else str(hard)
    shown = f"{soft} (up to {most})"
    if soft == resource.RLIM_INFINITY or soft >= _FILES_GOOD:
        return ok("open files", "no limit" if soft == resource.RLIM_INFINITY else shown)
    remedy = f"ulimit -n {_FILES_GOOD}"
    if soft < _FILES_MIN:
        return error("open files", shown, remedy)
    return warning("open files", shown, f"{remedy} for many streams or topics")


def wall_clock() -> Check:
    from pipeline.spec import format_rfc3339

    now_us = clock.wall_us()
    shown = format_rfc3339(now_us, "seconds")
    if now_us < _MOTET_BORN_US:
        return error("clock", shown, "set the clock: event times are compared with it")
    return ok("clock", shown)
