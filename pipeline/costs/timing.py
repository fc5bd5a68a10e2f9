"""How long a call takes on its device: waited for on both sides, short ones repeated."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pipeline import clock

_LEAST_US = 5_000  # of one measurement: the clock counts microseconds


def took_us(call: Callable[[], object], device: torch.device) -> float:
    """Microseconds of one call, its work on the device included.

    A call under 5 ms is repeated until so much has passed, and the mean is given.
    """
    _wait(device)
    began_us = clock.monotonic_us()
    calls, passed_us = 0, 0
    while passed_us < _LEAST_US:
        call()
        _wait(device)
        calls += 1
        passed_us = clock.monotonic_us() - began_us
    return passed_us / calls


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
