"""What this machine has, found without loading a library: CPUs, memory, GPUs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import InvalidInput
from pipeline.spec import PipelineSpec
from pipeline.tasks.planning import Resources, missing

_GPUS = Path("/proc/driver/nvidia/gpus")
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
VISIBLE = "CUDA_VISIBLE_DEVICES"


class Machine(NamedTuple):
    """``memory_bytes``: of the machine or of the container that this is, whichever is less."""

    cpus: int
    memory_bytes: int
    gpus: int


def this_machine() -> Machine:
    """``CUDA_VISIBLE_DEVICES`` hides GPUs from us as it does from Ray."""
    return Machine(_cpus(), _memory_bytes(), _gpus())


def demand_gpus(spec: PipelineSpec) -> None:
    """A number in ``num_gpus`` is a demand in one process too; raises InvalidInput."""
    machine = this_machine()
    problems = missing(spec, Resources(machine.cpus, machine.gpus))
    if problems:
        raise InvalidInput(*problems)


def _cpus() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no affinity
        return os.cpu_count() or 1


def _memory_bytes() -> int:
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _LIMITS:
        try:
            limit = path.read_text().strip()
        except OSError:
            continue  # no such control group
        if limit.isdigit():
            found = min(found, int(limit))
    return found


def _gpus() -> int:
    try:
        there = sum(1 for _ in _GPUS.iterdir())
    except OSError:
        there = 0  # no NVIDIA driver
    visible = os.environ.get(VISIBLE)
    if visible is None:
        return there
    named = [part for part in visible.split(",") if part.strip() not in ("", "-1", "NoDevFiles")]
    return min(there, len(named))
