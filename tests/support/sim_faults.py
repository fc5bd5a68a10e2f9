"""What goes wrong, and when: at every step of the ports, before its effect or after it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sim_host import Host

_COMMIT = ("begin", "produce", "flush", "send_offsets", "commit")
_CLAIM = ("begin", "send_offsets", "commit")
_ASK = ("open", "committed")


def _both(steps: tuple[str, ...]) -> tuple[str, ...]:
    """A step, and its reply: what fails there has taken place."""
    return tuple(name for step in steps for name in (step, f"{step}-reply"))


class Point(NamedTuple):
    """``phase``: start (fencing, recovery, claim), run (a transaction), resolve (what came of it
    after an error), check (an idle owner asks) or read (a fetch)."""

    phase: str
    step: str


class Kind(NamedTuple):
    """``what``: crash, transient, stall (longer than a transaction may take), takeover (another
    owner starts meanwhile) or others (everything else goes on meanwhile)."""

    what: str
    at: Point

    def __str__(self) -> str:
        return f"{self.what} at {self.at.phase} {self.at.step}"


START = tuple(Point("start", step) for step in _both(_ASK + _CLAIM))
RUN = tuple(Point("run", step) for step in _both(_COMMIT))
RESOLVE = tuple(Point("resolve", step) for step in _both(_ASK))

EVERY = (
    *(
        Kind(what, at)
        for what in ("crash", "transient", "takeover")
        for at in START + RUN + RESOLVE
    ),
    *(Kind("stall", at) for at in RUN),
)
PLANNED = 8  # of these in a life, so that each comes in several of any hundred seeds in a row
_ROTATION = EVERY + tuple(kind for kind in EVERY if kind.at in RESOLVE)  # they are met less often


@dataclass
class _Plan:
    kind: Kind
    skip: int  # how often the point is passed before


@dataclass
class Faults:
    """The faults of one simulated life: a few that are planned, the others by chance."""

    rng: random.Random
    seed: int
    on: bool = True
    plan: list[_Plan] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rate = self.rng.choice((0.005, 0.02, 0.05))
        for turn in range(PLANNED):
            kind = _ROTATION[(self.seed * PLANNED + turn) % len(_ROTATION)]
            most = 4 if kind.at in RUN else 1 if kind.at in START else 0
            self.plan.append(_Plan(kind, self.rng.randint(0, most)))
            if kind.at in RESOLVE:  # nothing is to be resolved where nothing has failed
                step = self.rng.choice(("produce", "send_offsets-reply", "commit", "commit-reply"))
                self.plan.append(_Plan(Kind("transient", Point("run", step)), 0))

    def draw(self, at: Point, zombie: bool) -> Kind | None:
        """What happens at this point now; a zombie meets errors that let it try again."""
        if not self.on:
            return None
        for plan in self.plan:
            if plan.kind.at == at:
                plan.skip -= 1
                if plan.skip < 0:
                    self.plan.remove(plan)
                    return plan.kind
        if zombie and at.phase == "run" and self.rng.random() < 0.1:
            return Kind("transient", at)
        if self.rng.random() >= self._rate:
            return None
        return Kind(self.rng.choice(("crash", "transient", "takeover", *["others"] * 3)), at)


class Crash(BaseException):
    """The process of a host ends here. No error of the pipeline: nothing may catch it."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.host = host
