"""A clip whose samples are still as they came: most built-in encoders read them so."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.encoders.base import Clip

if TYPE_CHECKING:
    from pipeline.features.int16 import Sound


class RawClip(Clip):
    """A ``Clip`` to whoever gets it: ``samples`` are made of 16 bits once they are asked for.

    From then on ``sound`` is that array, the clip's own: what is written into it, or put in its
    place, is what every later look at the clip finds, by either name.
    """

    __slots__ = ("sound",)
    sound: Sound | None

    @property
    def samples(self) -> NDArray[np.float32] | None:
        if self.sound is not None and self.sound.dtype.kind == "i":
            self.sound = to_floats()(self.sound)
        return cast("NDArray[np.float32] | None", self.sound)

    @samples.setter
    def samples(self, samples: NDArray[np.float32] | None) -> None:
        self.sound = samples


def sound_of(clip: Clip) -> Sound | None:
    """The clip's samples, 16 bits where nobody has asked for floats yet: to be read only."""
    return clip.sound if isinstance(clip, RawClip) else clip.samples


@functools.cache
def to_floats() -> Callable[[Sound], NDArray[np.float32]]:
    """Not before it is needed: numba is half a second and 60 MB, for pictures and texts too."""
    from pipeline.features.int16 import floats

    return floats
