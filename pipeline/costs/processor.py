"""The processor that something runs on: its name, and how fast it could be."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

# Float32 multiply-adds of one multiprocessor in one clock, by compute capability (CUDA C++
# Programming Guide, arithmetic instructions, throughput of native instructions).
_FMA_A_CLOCK = {
    (7, 0): 64, (7, 2): 64, (7, 5): 64, (8, 0): 64, (8, 6): 128, (8, 7): 128, (8, 9): 128,
    (9, 0): 128, (10, 0): 128, (10, 3): 128, (11, 0): 128, (12, 0): 128, (12, 1): 128,
}  # fmt: skip
_CPUS = Path("/proc/cpuinfo")


def processor_name(device: torch.device) -> str:
    """``NVIDIA H100 80GB HBM3``, ``AMD EPYC 7763 64-Core Processor``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = _CPUS.read_text().splitlines()
    except OSError:
        lines = []  # not Linux
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def float32_peak(device: torch.device) -> float | None:
    """FLOP/s in float32 outside of tensor cores, at the highest clock; None where not known.

    It is what the built-in networks can reach, since they keep TF32 off.
    """
    if device.type != "cuda":
        return None
    told = torch.cuda.get_device_properties(device)
    clock_khz = getattr(told, "clock_rate", None)  # not in older versions of torch
    if clock_khz is None:
        return None
    return float32_peak_of((told.major, told.minor), told.multi_processor_count, clock_khz)


def float32_peak_of(
    capability: tuple[int, int], multiprocessors: int, clock_khz: int
) -> float | None:
    """Multiprocessors x multiply-adds a clock x 2 x Hz; None for a capability that is not known.

    >>> float32_peak_of((9, 0), 132, 1_980_000) / 1e12  # an H100 SXM: 67 by its data sheet
    66.90816
    """
    each = _FMA_A_CLOCK.get(capability)
    return None if each is None else float(multiprocessors * each * 2 * clock_khz * 1000)
