"""Where a device's time goes: in networks, or in what surrounds them (features, preparing)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.profiler import ProfilerActivity, profile, record_function

_NETWORK = "motet.network"


@dataclass(frozen=True, slots=True)
class DeviceTime:
    """Microseconds in which the device worked, and of these those for networks."""

    total_us: float
    network_us: float

    @property
    def features_share(self) -> float:
        """What is outside of networks: transforms, filter banks, resizing, copies."""
        return 1 - self.network_us / self.total_us if self.total_us else 0.0


def device_time(call: Callable[[], object], device: torch.device) -> DeviceTime:
    """Of one call, by torch's profiler: on CUDA of kernels and copies, on the CPU of operations.

    For networks is what a ``torch.nn.Module`` computes when it is called. What CTranslate2 or
    ONNX Runtime have the device do counts to the total and to no network of torch.
    """
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
        torch.cuda.synchronize(device)
    with _networks_named(), profile(activities=activities) as seen:
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    events: list[Any] = list(seen.events() or ())
    named = [event for event in events if event.name == _NETWORK]
    if device.type != "cuda":
        outermost = [event for event in events if event.cpu_parent is None]
        total_us = sum(event.cpu_time_total for event in outermost)
        return DeviceTime(total_us, sum(event.cpu_time_total for event in named))
    kernels = [
        event
        for event in events
        if event.device_type.name == "CUDA" and not event.is_user_annotation
    ]
    on_host = [event for event in named if event.device_type.name == "CPU"]
    return DeviceTime(
        sum(event.self_device_time_total for event in kernels),
        sum(event.device_time_total for event in on_host),
    )


@contextmanager
def _networks_named() -> Iterator[None]:
    """Every outermost call of a module is an event of the profiler while this lasts."""
    entered: list[Any] = []

    def begin(_module: torch.nn.Module, _inputs: Any) -> None:
        entered.append(record_function(_NETWORK) if not entered else None)
        if entered[-1] is not None:
            entered[-1].__enter__()

    def end(_module: torch.nn.Module, _inputs: Any, _output: Any) -> None:
        event = entered.pop()
        if event is not None:
            event.__exit__(None, None, None)

    handles = [
        register_module_forward_pre_hook(begin),
        register_module_forward_hook(end, always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
