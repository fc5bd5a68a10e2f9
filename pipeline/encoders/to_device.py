"""The way of a batch's arrays from the host to the device."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray


def to_device(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """The array on the device; on the CPU it shares the array's memory.

    To CUDA it goes by way of pinned memory, and the call does not wait: what the device is asked
    for next comes behind the copy. torch's allocator keeps the pinned memory until it is done.
    """
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
