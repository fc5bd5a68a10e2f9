"""How soon a run under load goes on after a part of it was killed."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Any, NamedTuple

from pipeline import clock
from pipeline.benchmark.ground import Ground
from pipeline.benchmark.loaded import Answered, Asked, OnKafka
from pipeline.errors import MotetError

CALM_US = 500_000  # a latency that is no longer of the catching up, at least
ACTORS = {"ingest": "IngestActor", "fusion": "FusionActor", "encoder": "EncoderActor"}


class Plan(NamedTuple):
    """``what``: process (local), ingest, fusion or encoder (on Ray); each ``apart_s`` after the
    one before, the first when the warm-up is over.
    """

    what: str
    times: int
    apart_s: float


class Injection:
    """One kill. ``went_on_us``: when the first result was seen of a window whose last send was due
    after it; ``calm_us``: the first of these that came as soon as before. None: not yet.
    """

    def __init__(self, at_us: int, what: str) -> None:
        self.at_us = at_us
        self.what = what
        self.went_on_us: int | None = None
        self.calm_us: int | None = None

    def saw(self, due_us: int, seen_us: int, calm_latency_us: int) -> None:
        if due_us <= self.at_us:
            return
        if self.went_on_us is None:
            self.went_on_us = seen_us
        if self.calm_us is None and seen_us - due_us <= calm_latency_us:
            self.calm_us = seen_us

    def as_json(self, begin_us: int) -> dict[str, Any]:
        return {
            "what": self.what,
            "at": (self.at_us - begin_us) / 1e6,
            "recovered": None if self.went_on_us is None else (self.went_on_us - self.at_us) / 1e6,
            "calm": None if self.calm_us is None else (self.calm_us - self.at_us) / 1e6,
        }


class Killer:
    """Kills by plan while a load runs, and notes what the results say.

    Invariant: the next kill waits until the run has gone on after the one before.
    """

    def __init__(self, run: OnKafka, plan: Plan, warm_s: float) -> None:
        self._run = run
        self._plan = plan
        self._warm_us = round(warm_s * 1e6)
        self._next_us = 0
        self._normal_us: list[int] = []  # latencies before the first kill
        self._calm_us = CALM_US
        self.injections: list[Injection] = []
        self.begin_us = 0

    def begun(self, send_us: int) -> None:
        self.begin_us = send_us
        self._next_us = send_us + self._warm_us

    def saw(self, due_us: int, seen_us: int) -> None:
        if not self.injections:
            if due_us >= self.begin_us + self._warm_us // 2:
                self._normal_us.append(seen_us - due_us)
            return
        for each in self.injections:
            each.saw(due_us, seen_us, self._calm_us)

    def look(self) -> None:
        """Kills where it is time for it; raises MotetError where the run has ended by itself."""
        self._run.host.demand_alive()
        open_ = self.injections and self.injections[-1].went_on_us is None
        now_us = clock.monotonic_us()
        if open_ or len(self.injections) >= self._plan.times or now_us < self._next_us:
            return
        self._next_us = now_us + round(self._plan.apart_s * 1e6)
        if not self.injections and self._normal_us:
            self._calm_us = max(CALM_US, 2 * sorted(self._normal_us)[len(self._normal_us) // 2])
        self.injections.append(Injection(self._kill(), self._plan.what))

    def _kill(self) -> int:
        """The moment at which it was killed."""
        if self._plan.what == "process":
            at_us = clock.monotonic_us()
            self._run.host.kill()
            self._run.start_host()
            return at_us
        pids = self._run.processes.pids(ACTORS[self._plan.what])
        if not pids:
            raise MotetError(
                f"no process of {ACTORS[self._plan.what]} is there to be killed; a Ray that ran "
                "already is not looked into (unset RAY_ADDRESS)"
            )
        at_us = clock.monotonic_us()
        with suppress(ProcessLookupError):
            os.kill(pids[0], signal.SIGKILL)
        return at_us


def recovery(ground: Ground, asked: Asked, plan: Plan) -> tuple[Answered, Killer]:
    """A whole load with kills in it; every window of it has come exactly once (MotetError)."""
    with OnKafka(ground, asked) as run:
        killer = Killer(run, plan, asked.warm_seconds)
        answered = run.run(killer.look, killer.saw, killer.begun)
    if len(killer.injections) < plan.times:
        raise MotetError(
            f"only {len(killer.injections)} of {plan.times} kills had time; a longer --apart"
        )
    return answered, killer
