"""Image encoders without weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.encoders.base import Clip, Vector
from pipeline.encoders.options import whole

if TYPE_CHECKING:
    import torch  # seconds, which these encoders need not pay

FRAMES_MAX = 4  # `options.max_frames` where it is not given
_Item = TypeVar("_Item")


def window_frames(clip: Clip) -> list[NDArray[np.uint8]]:
    """The frames of the window itself: what a stage's ``context`` brought around it is left out."""
    frames = list(clip.frames or ())
    if clip.times_us is None:
        return frames
    ends_us = [at_us + 1 for at_us in clip.times_us] if clip.ends_us is None else clip.ends_us
    return [
        frame
        for frame, at_us, end_us in zip(frames, clip.times_us, ends_us, strict=True)
        if at_us < clip.end_us and end_us > clip.start_us
    ]


def evenly_spread(items: Sequence[_Item], most: int) -> list[_Item]:
    """At most ``most`` of the items: the middle one of each of ``most`` equal parts.

    Of 10 and 4 the items 1, 3, 6 and 8.
    """
    count = len(items)
    if count <= most:
        return list(items)
    return [items[(2 * part + 1) * count // (2 * most)] for part in range(most)]


class ColorHistogram:
    """How much of a picture is how bright in red, green and blue; float32, shape (3 · bins,).

    Each channel's values are counted in ``bins`` equal classes, first those of red, then green,
    then blue; a frame's counts add up to 1, and the vector is the mean over the window's frames
    (at most ``max_frames``, evenly spread). It counts on the CPU, whatever the device.
    """

    takes = ("image", "video")
    gives = "vector"

    def __init__(
        self, device: torch.device, *, bins: int = 8, max_frames: int = FRAMES_MAX
    ) -> None:
        self._bins = whole("bins", bins, 1, 256)
        self.frames_max = whole("max_frames", max_frames, 1, 100_000)
        self.length = 3 * self._bins
        # class of each value, and each channel's classes after the one's before
        classes = np.arange(256) * self._bins // 256
        self._fold = np.zeros((256, self._bins))
        self._fold[np.arange(256), classes] = 1.0

    def encode(self, batch: Sequence[Clip]) -> list[Vector]:
        return [self._of(evenly_spread(window_frames(clip), self.frames_max)) for clip in batch]

    def _of(self, frames: Sequence[NDArray[np.uint8]]) -> Vector:
        shares = [self._shares(frame) for frame in frames if frame.size]
        if not shares:
            return np.zeros(self.length, np.float32)
        mean: NDArray[np.float64] = np.sum(shares, axis=0) / len(shares)
        return mean.astype(np.float32)

    def _shares(self, frame: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The counts of one frame, shape (3 · bins,), as shares of all its values."""
        counts = [
            np.bincount(frame[..., channel].reshape(-1), minlength=256) for channel in range(3)
        ]
        return (np.stack(counts) @ self._fold).reshape(-1) / frame.size
