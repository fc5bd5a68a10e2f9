"""What goes wrong, and when: at every step of the ports, before its effect or after it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import NamedTuple

_COMMIT = ("begin", "produce", "flush", "send_offsets", "commit")
_CLAIM = ("begin", "send_offsets", "commit")
_ASK = ("open", "committed")


def _both(steps: tuple[str, ...]) -> tuple[str, ...]:
    """A step, and its reply: what fails there has taken place."""
    return tuple(name for step in steps for name in (step, f"{step}-reply"))


class Point(NamedTuple):
    """``phase``: start (fencing, recovery, claim), run (a transaction), or resolve (after an
    unknown outcome)."""

    phase: str
    step: str


POINTS = (
    *(Point("start", step) for step in _both(_ASK + _CLAIM)),
    *(Point("run", step) for step in _both(_COMMIT)),
    *(Point("resolve", step) for step in _both(_ASK)),
)


class Crash(BaseException):
    """The process of a host ends here. No error of the pipeline: nothing may catch it."""

    def __init__(self, host: object) -> None:
        super().__init__()
        self.host = host


@dataclass
class Fault:
    """``kind``: crash, transient, takeover (by another run, meanwhile) or others (go on)."""

    point: Point
    kind: str
    skip: int  # how often the point is passed before

    @property
    def name(self) -> str:
        return f"{self.kind} at {self.point.phase} {self.point.step}"


EVERY = tuple((point, kind) for kind in ("crash", "transient", "takeover") for point in POINTS)
"""Each of these is planned in several of any hundred seeds in a row."""


@dataclass
class Faults:
    """The faults of one simulated life: a few that are planned, the others by chance."""

    rng: random.Random
    seed: int
    on: bool = True
    rate: float = 0.0
    plan: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rate = self.rng.choice((0.005, 0.02, 0.05))
        self.on = self.rng.random() < 0.97
        for turn in range(6):
            point, kind = EVERY[(self.seed * 6 + turn) % len(EVERY)]
            self._add(point, kind)
            if point.phase == "resolve":  # nothing is to be resolved where nothing has failed
                step = self.rng.choice(("produce", "send_offsets-reply", "commit", "commit-reply"))
                self._add(Point("run", step), "transient", 0)

    def _add(self, point: Point, kind: str, skip: int | None = None) -> None:
        most = 1 if point.phase == "start" else 4
        self.plan.append(Fault(point, kind, self.rng.randint(0, most) if skip is None else skip))

    def draw(self, phase: str, step: str, zombie: bool) -> str | None:
        """What happens at this point now; a zombie meets errors that let it try again."""
        if not self.on:
            return None
        for fault in self.plan:
            if fault.point == (phase, step):
                fault.skip -= 1
                if fault.skip < 0:
                    self.plan.remove(fault)
                    return fault.kind
        if zombie and phase == "run" and self.rng.random() < 0.1:
            return "transient"
        if self.rng.random() >= self.rate:
            return None
        return self.rng.choice(("crash", "transient", "takeover", "others", "others", "others"))
