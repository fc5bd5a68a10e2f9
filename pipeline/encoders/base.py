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


Output = Any  # Vector | str | Audio | NDArray[np.uint8] | dict[str, Any], by ``gives``


@runtime_checkable
class Encoder(Protocol):
    """Stateless: ``encode`` of a clip does not depend on its batch mates or on earlier calls.

    ``takes``: one or several of ``audio``, ``image``, ``video``, ``text``, ``vector``.
    ``gives``: one of these, or ``data``. An optional ``length`` states the vector's length,
    an optional ``rate`` (Hz) the sample rate it wants (without it: the stream's own).
    """

    takes: str | tuple[str, ...]
    gives: str

    def encode(self, batch: Sequence[Clip]) -> Sequence[Output]: ...
