"""The frames of a window: which of them an encoder looks at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.batching.batch import RecordId
from pipeline.encoders.base import Clip
from pipeline.encoders.image import evenly_spread
from pipeline.media.film_decode import FrameSize

Picture = NDArray[np.uint8]


class FrameWish(NamedTuple):
    """What an encoder says of the frames it wants (``pipeline.encoders.base.Encoder``)."""

    frames_max: int | None = None
    size: FrameSize | None = None


def wish_of(encoder: Any) -> FrameWish:
    return FrameWish(getattr(encoder, "frames_max", None), getattr(encoder, "frame_size", None))


class Frame(NamedTuple):
    """One frame of a window: a picture that is there, or number ``number`` of a film.

    The first four fields are the order: by time, then by order in ``of``, then by offset.
    """

    at_us: int
    place: int
    offset: int
    number: int
    end_us: int
    film: RecordId | None = None
    picture: Picture | None = None


@dataclass(slots=True)
class WindowFrames:
    """The frames of one clip; those of ``picked`` become pictures.

    ``timed_out``: films that frames of it were lost from because their time was up.

    Invariant: what is picked hangs on this window's own frames, those left out that cannot be
    decoded, and on no other window of the batch.
    """

    clip: Clip
    frames: list[Frame]
    frames_max: int | None
    picked: list[Frame] = field(default_factory=list)
    timed_out: set[RecordId] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.frames.sort(key=lambda frame: frame[:4])
        self.pick()

    def pick(self) -> None:
        """All; or of the window, and of what context brought before and after it, so many."""
        most = self.frames_max
        if most is None:
            self.picked = self.frames
            return
        start_us, end_us = self.clip.start_us, self.clip.end_us
        before = [frame for frame in self.frames if frame.end_us <= start_us]
        after = [frame for frame in self.frames if frame.at_us >= end_us]
        within = [f for f in self.frames if f.at_us < end_us and f.end_us > start_us]
        self.picked = [
            frame for part in (before, within, after) for frame in evenly_spread(part, most)
        ]
