"""From frames to what an image network reads: cut, brought to its size, scaled, on its device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray

from pipeline.encoders.to_device import to_device

Frame = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Pixels:
    """What a network was trained to see.

    ``crop``: the side of the central square that is cut out, as a share of the shorter side of
    the frame. ``size``: the side that it is brought to, in pixels. ``mean``, ``std``: of red,
    green and blue, in values from 0 to 1; what the network gets is (value - mean) / std.
    """

    size: int
    crop: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def tensor(self, frames: Sequence[Frame], device: torch.device) -> torch.Tensor:
        """Frames (height, width, 3) as float32 (n, 3, size, size), channels last in memory.

        Bicubic with antialiasing, as Pillow does it; overshoot is not cut off. A frame's numbers
        hang on that frame alone.
        """
        squares = [self._square(frame) for frame in frames]
        shape = (len(frames), 3, self.size, self.size)
        out = torch.empty(shape, device=device, memory_format=torch.channels_last)
        by_side: dict[int, list[int]] = {}
        for place, square in enumerate(squares):
            by_side.setdefault(len(square), []).append(place)
        for places in by_side.values():
            out[places] = self._resized([squares[place] for place in places], device)
        mean, std = _scales(self.mean, self.std, device)
        return out.sub_(mean).div_(std)

    def _square(self, frame: Frame) -> Frame:
        """The central square; where a row or column is left over, it is at the far side's end.

        Offsets as in ``preprocessing.py`` of the EfficientNet reference in TensorFlow.
        """
        height, width = frame.shape[:2]
        side = max(1, int(self.crop * min(height, width)))
        top, left = (height - side + 1) // 2, (width - side + 1) // 2
        return frame[top : top + side, left : left + side]

    def _resized(self, squares: Sequence[Frame], device: torch.device) -> torch.Tensor:
        """Squares of one side; they travel as uint8, a quarter of what float32 would take."""
        pixels = to_device(np.stack(squares), device).permute(0, 3, 1, 2).float()
        if pixels.shape[-1] == self.size:
            return pixels
        return functional.interpolate(
            pixels, (self.size, self.size), mode="bicubic", align_corners=False, antialias=True
        )


@lru_cache(maxsize=16)
def _scales(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of values from 0 to 255, (1, 3, 1, 1) each, copied to a device once."""
    both = (torch.tensor(each, device=device) * 255 for each in (mean, std))
    shifted, scaled = (each.view(1, 3, 1, 1) for each in both)
    return shifted, scaled
