"""What goes wrong, and when: at every call of the ports, before its effect or after it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sim_host import Host

_ASK = ("open", "committed")
_LOOK = ("topics", "beginnings", "stable_ends", "last_record")
_CLAIM = ("begin", "send_offsets", "commit")
_COMMIT = ("begin", "produce", "flush", "send_offsets", "commit")
_READ = ("poll", "stable_ends")


class Point(NamedTuple):
    """``phase``: start (topics, fencing, recovery, claim), move (a slot comes while it runs:
    fencing, recovery, claim), run (a transaction), resolve (what came of it after an error),
    check (an idle owner asks) or read (the source)."""

    phase: str
    step: str


class Kind(NamedTuple):
    """``what``: the end of the process, an error of one of the broker's classes, or what others do
    meanwhile.

    * crash: the process ends.
    * retriable: nothing has happened; at a reply it has, and the reply is lost.
    * timeout: the same, after a while, which may be longer than a transaction lives.
    * abortable: the broker has ended the transaction.
    * fatal: so it has, and the id has a new epoch.
    * refused: the broker would refuse it again; the run ends.
    * stall: the call takes longer than a transaction lives, or than an answer is good for.
    * takeover: another owner starts meanwhile.
    * others: everything else goes on meanwhile.
    """

    what: str
    at: Point

    def __str__(self) -> str:
        return f"{self.what} at {self.at.phase} {self.at.step}"


def _points(phase: str, steps: tuple[str, ...]) -> tuple[Point, ...]:
    """Each step, and its reply: what fails there has taken place."""
    return tuple(Point(phase, name) for step in steps for name in (step, f"{step}-reply"))


START = _points("start", _LOOK + _ASK + _CLAIM)
RUN = (*_points("run", _COMMIT), Point("run", "produce-part"))
RESOLVE = _points("resolve", _ASK)
MOVE = _points(
    "move", ("open", "committed", "beginnings", "stable_ends", "begin", "send_offsets", "commit")
)
CHECK = _points("check", ("committed",))
READ = _points("read", _READ)
POLLED = Point("read", "poll-reply")  # an error here is none: the client has what was fetched
ENDS_TOLD = Point("read", "stable_ends-reply")
RARELY_MET = Point("start", "last_record")  # only where nobody had the lane before


def _whats(at: Point) -> tuple[str, ...]:
    """What may go wrong there."""
    step, reply = at.step.removesuffix("-reply"), at.step.endswith("-reply")
    found = ["crash"]
    if at != POLLED:
        found += ["retriable", "timeout"]
    if not reply and step != "produce-part":
        found.append("refused")
    if step not in ("begin", "open") and step in (*_COMMIT, "produce-part"):
        found += ["abortable", "fatal"] if at.step != "commit-reply" else []
    if at.phase == "run" or at == ENDS_TOLD:
        found.append("stall")
    if at.phase in ("run", "resolve", "move") or step in _ASK + _CLAIM:
        found.append("takeover")
    return tuple(found)


AT = {at: _whats(at) for at in (*START, *RUN, *RESOLVE, *MOVE, *CHECK, *READ)}
EVERY = tuple(Kind(what, at) for at, whats in AT.items() for what in whats)
# Those that are met less often come more than once in the rotation.
_ROTATION = EVERY + tuple(kind for kind in EVERY if kind.at in (*RESOLVE, *MOVE))
_STRIDE = 89  # prime to the length of the rotation: a life's faults lie far apart in it
assert len(_ROTATION) % _STRIDE


@dataclass
class _Plan:
    kind: Kind
    skip: int  # how often the point is passed before


@dataclass
class Faults:
    """The faults of one simulated life: a few that are planned, the others by chance."""

    rng: random.Random
    seed: int
    planned: int
    on: bool = True
    plan: list[_Plan] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rate = self.rng.choice((0.005, 0.02, 0.05))
        for turn in range(self.planned):
            kind = _ROTATION[(self.seed * 8 + turn) * _STRIDE % len(_ROTATION)]
            most = 2 if kind.at in RUN + READ else 1 if kind.at in START else 0
            if kind.at == RARELY_MET:
                most = 0
            self.plan.append(_Plan(kind, self.rng.randint(0, most)))
            if kind.at in RESOLVE:  # nothing is to be resolved where nothing has failed
                step = self.rng.choice(("produce", "send_offsets-reply", "commit", "commit-reply"))
                self.plan.append(_Plan(Kind("retriable", Point("run", step)), 0))

    @property
    def awaited(self) -> bool:
        """Whether something that was planned is still to come."""
        return any(plan.kind.at.step.removesuffix("-reply") != "last_record" for plan in self.plan)

    def wants(self, phase: str) -> bool:
        """Whether something is planned for this phase."""
        return any(plan.kind.at.phase == phase for plan in self.plan)

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
        rng = self.rng
        if zombie and at.phase == "run" and rng.random() < 0.1:
            return Kind(rng.choice(("retriable", "timeout")), at)
        if rng.random() >= self._rate:
            return None
        if rng.random() < 0.5:
            return Kind("others", at)
        what = rng.choice(AT.get(at) or _whats(at))  # one that only a spoilt program comes to
        return Kind("retriable" if what == "refused" and rng.random() < 0.7 else what, at)


class Crash(BaseException):
    """The process of a host ends here. No error of the pipeline: nothing may catch it."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.host = host
