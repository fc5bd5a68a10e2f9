"""The most memory that something needs while it runs."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

_RESET = Path("/proc/self/clear_refs")  # "5": the kernel forgets the peak (proc(5))
_STATUS = Path("/proc/self/status")


class PeakMemory:
    """From when it is made to each ``peak_bytes``: on CUDA of torch's allocator on that device,
    on the CPU of this process over what it held at the beginning.

    Where the kernel keeps no peak that can be reset (macOS), a peak that came before may hide one
    that is lower: then it is 0 at least.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before_bytes = torch.cuda.memory_allocated(device)
        else:
            _forget_peak()
            self._before_bytes = _process_bytes("VmRSS")

    def peak_bytes(self) -> int:
        cuda = self._device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(self._device) if cuda else _process_bytes("VmHWM")
        return max(0, peak - self._before_bytes)


def _forget_peak() -> None:
    try:
        _RESET.write_text("5")
    except OSError:
        return  # not Linux, or not allowed here: the peak is that of the process's life


def _process_bytes(field: str) -> int:
    """VmRSS (now) or VmHWM (peak) of this process; without /proc the peak for both."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak << 10
    [line] = [line for line in lines if line.startswith(f"{field}:")]
    return int(line.split()[1]) << 10
