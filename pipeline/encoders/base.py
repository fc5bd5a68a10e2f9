"""The encoder protocol: clips in, one output each (contract section 2).

A class of the user's needs nothing from this module: it is duck-typed. The built-in
encoders use the same protocol and no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


@dataclass(slots=True)
class Clip:
    """What one window gives one encoder; by kind, the other fields are None.

    samples: float32 in [-1, 1], mono, shape (n,), at ``rate`` Hz, from ``samples_start_us``.
    frames: uint8 arrays (height, width, 3), in time order, each shown from its ``times_us`` to
    its ``ends_us``.
    text: the texts of the window, joined by newline.
    vector: float32, shape (d,).
    """

    stream: str
    start_us: int
    end_us: int
    samples: NDArray[np.float32] | None = None
    rate: int | None = None
    samples_start_us: int | None = None
    frames: Sequence[NDArray[np.uint8]] | None = None
    times_us: Sequence[int] | None = None
    ends_us: Sequence[int] | None = None
    text: str | None = None
    vector: Vector | None = None


@dataclass(slots=True)
class Audio:
    """Audio that an encoder gives: float32 in [-1, 1], mono, shape (n,), at ``rate`` Hz."""

    samples: NDArray[np.float32]
    rate: int


class Said(str):
    """Text with data about it: ``text`` of the result holds the one, ``data`` the other.

    It is a ``str`` to whoever reads the stage. ``data`` is what JSON holds: the times of the
    words, a language, a score. What is made of it (a slice, ``strip()``) is a plain ``str``.
    """

    data: dict[str, Any]

    def __new__(cls, text: str, data: dict[str, Any] | None = None) -> Said:
        said = super().__new__(cls, text)
        said.data = {} if data is None else data
        return said


Output = Any  # Vector | str | Audio | NDArray[np.uint8] | dict[str, Any], by ``gives``


@runtime_checkable
class Encoder(Protocol):
    """Stateless: ``encode`` of a clip does not depend on its batch mates or on earlier calls.

    ``takes``: one or several of ``audio``, ``image``, ``video``, ``text``, ``vector``.
    ``gives``: one of these, or ``data``. An optional ``length`` states the vector's length,
    an optional ``rate`` (Hz) the sample rate it wants (without it: the stream's own).
    An optional ``frames_max`` states how many frames of a window it looks at: it is given at
    most so many of the window itself, evenly spread over those that can be decoded, and as many
    of what ``context`` brought before and after it. An optional ``frame_size`` is the size that
    it scales frames to anyhow: those of films come scaled while they are decoded, with an int so
    that the longest side is no longer (never up), with (height, width) to exactly that.
    An optional ``sequence`` (steps, width) says that its vector is so many rows in time, one
    after another, and an optional ``tokens`` (steps, vocabulary) that it is so many numbers of
    tokens, 0 behind the last one; the heads ``lstm`` and ``cnn`` read them as such.
    """

    takes: str | tuple[str, ...]
    gives: str

    def encode(self, batch: Sequence[Clip]) -> Sequence[Output]: ...
