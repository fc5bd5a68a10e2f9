"""Wall clocks of simulated processes, which somebody sets now and then."""

from __future__ import annotations

import random
from collections.abc import Callable

STEP_US = 3_600_000_000


class Walls:
    """Draws from a generator of its own: a life without steps is otherwise the same life."""

    def __init__(
        self,
        seed: int,
        now_us: Callable[[], int],
        sometimes: Callable[[str], None],
        steps: bool,
    ) -> None:
        self._rng = random.Random(seed ^ 0xC10C)
        self._now_us = now_us
        self._sometimes = sometimes
        self._steps = steps

    def look(self) -> bool:
        """Whether a process shows how it stands now: seldom, as it costs time."""
        return self._rng.random() < 0.02

    def wall_us(self, off_us: int) -> tuple[int, int]:
        """The time by a clock that is off, and how far it is off by now."""
        if self._rng.random() < 0.05 and self._steps:
            off_us += self._rng.choice((STEP_US, -STEP_US))
            self._sometimes("a wall clock stepped")
        return self._now_us() + off_us, off_us
