"""What a simulated host is given by the world that it runs in."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sim_wall import Walls

from pipeline.encoders.running import EncodeTask


@dataclass(frozen=True)
class Around:
    """``pause`` waits before another try; ``deaths_alone_max``: how often a window that is alone
    in its batch may be lost; ``sometimes`` counts a rare path that was gone."""

    rng: random.Random
    now_us: Callable[[], int]
    walls: Walls
    pause: Callable[[int], None]
    sometimes: Callable[[str], None]
    encoders: Mapping[str, EncodeTask]
    lengths: Mapping[str, int]
    replicas: int
    call_batches: int
    deaths_alone_max: int
