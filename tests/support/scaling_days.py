"""Traffic days on a virtual clock: what replicas a policy has, what waits, and what that costs.

A fluid model of one stage: windows come at a rate that changes with the time; a replica takes
t(B) = fixed + each * B for a batch and needs some seconds to load. What does not fit in flight
waits in the log, as it does where ``limits.in_flight_bytes`` pauses the inputs.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pipeline.scaling.meter import Counted, Meter
from pipeline.scaling.policy import ScalingRule, ScalingState, Signals, decide

LOOK_S = 1.0
HOUR_S = 3600
FREE = ScalingRule(1, 100)


@dataclass(frozen=True)
class Machine:
    """What a stage runs on. ``source_max``: windows a second that Kafka gives at most."""

    fixed_s: float = 0.02
    each_s: float = 0.05
    batch_max: int = 32
    load_s: float = 15.0
    in_flight: int = 400
    room: int = 1000
    source_max: float = math.inf
    starts_fail: bool = False

    @property
    def rate(self) -> float:
        """Windows a second of one replica in full batches."""
        return self.batch_max / (self.fixed_s + self.each_s * self.batch_max)


@dataclass
class Day:
    """What happened: one entry for each second."""

    machine: Machine
    arriving: list[float] = field(default_factory=list)
    replicas: list[int] = field(default_factory=list)  # paid for: those that load, too
    ready: list[int] = field(default_factory=list)
    backlog: list[float] = field(default_factory=list)
    changes: list[tuple[int, int, int, str]] = field(default_factory=list)  # second, from, to, why
    limits: set[str] = field(default_factory=set)

    @property
    def turns(self) -> int:
        """How often the number went the other way than at the change before."""
        ways = [after > before for _, before, after, _ in self.changes]
        return sum(a != b for a, b in itertools.pairwise(ways))

    @property
    def waits_s(self) -> list[int]:
        """By second: how long a window that came then waited, first come first served."""
        came = list(itertools.accumulate(self.arriving))
        done = [all_ - waiting for all_, waiting in zip(came, self.backlog, strict=True)]
        waits, at = [], 0
        for second, number in enumerate(came):
            while at < len(done) and done[at] < number - 1:
                at += 1
            waits.append(max(0, at - second))
        return waits

    @property
    def cost(self) -> float:
        """Replica seconds, of those that one would have paid who knew the day beforehand.

        Such a one keeps replicas busy for 75 % at most, which is what the policy aims at.
        """
        best = sum(max(1, math.ceil(a / self.machine.rate / 0.75)) for a in self.arriving)
        return sum(self.replicas) / best


def play(
    machine: Machine,
    traffic: Callable[[int], float],
    seconds: int,
    rule: ScalingRule = FREE,
    seed: int = 1,
) -> Day:
    """``traffic(second)``: windows a second; about each of them there is some noise."""
    rng = random.Random(seed)
    day, meter, state = Day(machine), Meter(machine.batch_max, None), ScalingState()
    ready, starting = rule.replicas_min, []
    log = waiting = 0.0
    done = batches = computed = 0.0
    failed, loaded = 0, False
    for second in range(seconds):
        arriving = max(0.0, traffic(second) * rng.uniform(0.9, 1.1))
        log += arriving
        taken = min(log, machine.source_max, max(0.0, machine.in_flight - waiting))
        log, waiting = log - taken, waiting + taken
        ran, calls, took = _second(machine, waiting, ready)
        waiting, done = waiting - ran, done + ran
        batches, computed = batches + calls, computed + took
        if machine.starts_fail:
            failed += sum(at <= second for at in starting)
        else:
            came = sum(at <= second for at in starting)
            ready, loaded = ready + came, loaded or came > 0
        starting = [at for at in starting if at > second]
        counted = Counted(
            second, int(done), int(batches), computed, int(waiting), int(log),
            took / max(1, ready), ready,
        )  # fmt: skip
        room = machine.room - ready - len(starting)
        signals = Signals(
            second, meter.look(counted), ready, len(starting), room=room, failed=failed,
            load_s=machine.load_s if loaded else 0.0,
        )  # fmt: skip
        decision, state = decide(rule, signals, state)
        present = ready + len(starting)
        if decision.target != present:
            day.changes.append((second, present, decision.target, decision.why))
        if decision.limit:
            day.limits.add(decision.limit)
        starting += [second + machine.load_s] * max(0, decision.target - present)
        ready -= max(0, present - decision.target)
        day.arriving.append(arriving)
        day.replicas.append(ready + len(starting))
        day.ready.append(ready)
        day.backlog.append(log + waiting)
    return day


def _second(machine: Machine, waiting: float, ready: int) -> tuple[float, float, float]:
    """Windows that replicas do in a second, in how many batches, and the time that these take.

    Work-conserving: a batch is what came while the one before ran, so it grows with the load.
    """
    if waiting <= 0 or ready == 0:
        return 0.0, 0.0, 0.0
    each = waiting / ready
    batch = min(float(machine.batch_max), max(1.0, _equilibrium(machine, each)))
    took = machine.fixed_s + machine.each_s * batch
    ran = min(each, batch / took)
    return ran * ready, ran * ready / batch, ran * ready / batch * took


def _equilibrium(machine: Machine, rate: float) -> float:
    """The size at which as many come while a batch runs as it holds."""
    if rate * machine.each_s >= 1:
        return math.inf
    return rate * machine.fixed_s / (1 - rate * machine.each_s)


# -- days -------------------------------------------------------------------------------------


def step(second: int) -> float:
    return 150.0 if 600 <= second < 1800 else 15.0


def ramp(second: int) -> float:
    return 15.0 + 150.0 * min(1.0, max(0, second - 300) / 1800)


def diurnal(second: int) -> float:
    """A day in four hours: a night, a morning's rise, noon, an evening."""
    return 90.0 - 80.0 * math.cos(2 * math.pi * second / (4 * HOUR_S))


def spikes(second: int) -> float:
    """A minute of ten times as much, every quarter of an hour."""
    return 200.0 if second % 900 < 60 and second >= 600 else 20.0


def edge(second: int) -> float:
    """Load that lies just between two numbers of replicas: the worst for flapping."""
    return 3 * 0.75 * Machine().rate


def sawtooth(second: int) -> float:
    """Up and down with a period near the calm: what a fixed calm would follow for ever."""
    return 120.0 if second % 180 < 60 else 20.0


DAYS: dict[str, tuple[Callable[[int], float], int]] = {
    "step": (step, HOUR_S),
    "ramp": (ramp, HOUR_S),
    "diurnal": (diurnal, 4 * HOUR_S),
    "spikes": (spikes, 2 * HOUR_S),
    "edge": (edge, 2 * HOUR_S),
    "sawtooth": (sawtooth, 2 * HOUR_S),
}


def row(name: str, day: Day) -> str:
    """A day as the table of docs/SCALING.md shows it."""
    return (
        f"| {name} | {min(day.replicas)} to {max(day.replicas)} | {len(day.changes)} | "
        f"{day.turns} | {max(day.waits_s)} s | {day.cost:.2f} |"
    )


def picture(day: Day, seconds: range) -> list[str]:
    """A line for each of these seconds: what arrives, and replicas: ``#`` ready, ``+`` loading."""
    lines = []
    for second in seconds:
        ready, all_ = day.ready[second], day.replicas[second]
        backlog = max(0.0, day.backlog[second])
        bar = "#" * ready + "+" * (all_ - ready)
        lines.append(f"{second:>5} s {day.arriving[second]:>5.0f} {backlog:>6.0f}  {bar}")
    return lines


STEP_SHOWN = (range(590, 660, 5), range(690, 720, 10), range(1790, 1900, 10))


def slow(machine: Machine) -> Machine:
    """The same whose model loads for a minute."""
    return replace(machine, load_s=60.0)


if __name__ == "__main__":
    for name, (traffic, seconds) in DAYS.items():
        print(row(name, play(Machine(), traffic, seconds)))
    for shown in STEP_SHOWN:
        print("\n".join(picture(play(Machine(), *DAYS["step"]), shown)))
