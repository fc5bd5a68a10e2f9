"""Random pipelines, logs and lives of a lane, drawn from any source of bounded integers.

One generator serves two masters: hypothesis draws (and shrinks) for the property tests, a
seeded ``random.Random`` gives the fixed examples on which the mutants must fail. All times
are small, so that records, clocks, window ends and the floor meet exactly all the time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from lane_oracle import Rec

from pipeline.lane.spec import InputRule, LaneSpec

Draw = Callable[[int, int], int]
"""``draw(low, high)``: an integer with ``low <= it <= high``."""

NO_LIMIT = 1 << 40


def seeded(seed: int) -> Draw:
    return random.Random(seed).randint


def one_in(draw: Draw, n: int) -> bool:
    """True about once in ``n``; 0, to which hypothesis shrinks, is False."""
    return draw(0, n - 1) == n - 1


# -- pipelines


def draw_spec(draw: Draw, all_gating: bool = False, forced: bool = True) -> LaneSpec:
    count = draw(1, 3)
    after_us = draw(0, 3) if one_in(draw, 2) else 0
    rules = [
        InputRule("abc"[i], i == 0 or all_gating or not one_in(draw, 2), after_us + draw(0, 5))
        for i in range(count)
    ]
    size_us = draw(1, 8)
    return LaneSpec(
        inputs=tuple(rules[::-1] if one_in(draw, 2) else rules),
        size_us=size_us,
        hop_us=draw(1, size_us) if one_in(draw, 2) else size_us,
        idle_us=draw(0, 12) + (draw(0, 30) if all_gating else 0),
        before_us=draw(0, 9) if one_in(draw, 2) else 0,
        after_us=after_us,
        align_wait_us=1 << 60,
        open_bytes=draw(0, 25) if forced and one_in(draw, 4) else NO_LIMIT,
    )


# -- logs


class _Log:
    """Offsets of one input's partition, with gaps as transaction markers leave them."""

    def __init__(self, draw: Draw) -> None:
        self.start = self.next = draw(0, 3)

    def offset(self, draw: Draw) -> int:
        offset = self.next + (draw(1, 3) if one_in(draw, 5) else 0)
        self.next = offset + 1
        return offset


@dataclass(frozen=True)
class Logs:
    """What the partitions of a lane hold; ``arrival`` is the order in which it was appended."""

    spec: LaneSpec
    starts: Mapping[str, int]
    arrival: tuple[Rec, ...]
    ends: Mapping[str, int]

    def of(self, name: str) -> list[Rec]:
        return [record for record in self.arrival if record.input == name]


def draw_record(
    draw: Draw, spec: LaneSpec, log: Mapping[str, _Log], now_us: int, tame: bool = False
) -> Rec:
    """A record around ``now``: mostly in time, at times far behind, far ahead, or unsound.

    A ``tame`` one is never further behind than about ``A``, and its stamp is about true.
    """
    name = spec.inputs[draw(0, len(spec.inputs) - 1)].name
    stream: str | None = "rst"[draw(0, 2)] if not one_in(draw, 4) else "r"
    reach_us = spec.hold_us + spec.size_us
    behind_us = spec.hold_us // 2 if tame else 2 * reach_us
    ts_us = now_us - (draw(0, behind_us) if one_in(draw, 4) else draw(0, 2))
    if one_in(draw, 12):
        ts_us += draw(0, 4 * reach_us)  # a clock that runs ahead
    length_us = draw(1, 3 * spec.size_us) if one_in(draw, 3) else draw(1, 3)
    append_us = now_us + (draw(-reach_us, reach_us) if not tame and one_in(draw, 6) else draw(0, 3))
    if one_in(draw, 15):
        stream = None
    offset = log[name].offset(draw)
    return Rec(name, offset, append_us, stream, ts_us, ts_us + length_us, draw(0, 6))


def draw_logs(draw: Draw, forced: bool = False, tame: bool = False) -> Logs:
    spec = draw_spec(draw, all_gating=tame, forced=forced)
    log = {rule.name: _Log(draw) for rule in spec.inputs}
    now_us = draw_epoch(draw)
    arrival = []
    for _ in range(draw(1, 24)):
        now_us += draw(0, spec.size_us)
        arrival.append(draw_record(draw, spec, log, now_us, tame))
    ends = {name: one.next + draw(0, 2) for name, one in log.items()}
    return Logs(spec, {name: one.start for name, one in log.items()}, tuple(arrival), ends)


def draw_epoch(draw: Draw) -> int:
    return (0, -17, 1_700_000_000_000_000)[draw(0, 2)]


def draw_timely_logs(draw: Draw, ahead: bool) -> Logs:
    """A live lane whose log stamps the truth, and whose records all come in time.

    That is within ``A`` of their ts, less the longest record that does not gate (the floor rises
    by its end, but it is applied by its ts), and where they do not gate within the largest ``B``;
    all less ``after``, for context. Nobody's clock runs ahead, or only (``ahead``) that of
    stream ``x``.
    """
    spec = draw_spec(draw, forced=False)
    spec = replace(spec, inputs=tuple(replace(r, bound_us=r.bound_us + 2) for r in spec.inputs))
    bound_us = max(rule.bound_us for rule in spec.inputs if rule.gating)
    longest_us = draw(1, bound_us - spec.after_us - 1)
    log = {rule.name: _Log(draw) for rule in spec.inputs}
    now_us = draw_epoch(draw)
    arrival = []
    for _ in range(draw(1, 24)):
        now_us += draw(0, spec.size_us)
        rule = spec.inputs[draw(0, len(spec.inputs) - 1)]
        most_us = spec.hold_us - longest_us
        if not rule.gating:
            most_us = min(most_us, bound_us)
        delay_us = draw(1, most_us - spec.after_us)
        length_us = draw(1, delay_us if rule.gating else min(delay_us, longest_us))
        stream = "rsx"[draw(0, 2)]
        ts_us = now_us - delay_us
        if ahead and stream == "x":
            ts_us += draw(0, 200)
        offset = log[rule.name].offset(draw)
        arrival.append(Rec(rule.name, offset, now_us, stream, ts_us, ts_us + length_us, 1))
    ends = {name: one.next for name, one in log.items()}
    return Logs(spec, {name: one.start for name, one in log.items()}, tuple(arrival), ends)


def interleaved(draw: Draw, logs: Logs) -> list[Rec]:
    """Any order of the records that keeps the order of each input."""
    heads = {rule.name: logs.of(rule.name) for rule in logs.spec.inputs}
    order = []
    while left := sorted(name for name, records in heads.items() if records):
        order.append(heads[left[draw(0, len(left) - 1)]].pop(0))
    return order


# -- the lives of a lane


class Skip(NamedTuple):
    """Offsets without a record are passed."""

    input: str
    position: int


class Silence(NamedTuple):
    elapsed_us: int


class Cut(NamedTuple):
    """A cut is taken, and it is committed."""


class Crash(NamedTuple):
    """The lane is lost; it comes back from the cut that lies ``back`` cuts behind the last one.

    What was done since that cut is done again, after a replay whose interleaving is ``seed``'s.
    """

    back: int
    seed: int


Event = Rec | Skip | Silence | Cut | Crash


@dataclass(frozen=True)
class History:
    spec: LaneSpec
    starts: Mapping[str, int]
    events: Sequence[Event]


def draw_history(draw: Draw, most: int = 30) -> History:
    spec = draw_spec(draw)
    log = {rule.name: _Log(draw) for rule in spec.inputs}
    now_us = draw_epoch(draw)
    events: list[Event] = []
    for _ in range(draw(1, most)):
        now_us += draw(0, spec.size_us)
        events.append(draw_event(draw, spec, log, now_us))
    return History(spec, {name: one.start for name, one in log.items()}, tuple(events))


def draw_event(draw: Draw, spec: LaneSpec, log: Mapping[str, _Log], now_us: int) -> Event:
    kind = draw(0, 19)
    if kind == 16:
        return Silence(draw(0, 2 * (spec.hold_us + spec.size_us)))
    if kind == 17:
        name = spec.inputs[draw(0, len(spec.inputs) - 1)].name
        log[name].next += draw(0, 2)
        return Skip(name, log[name].next)
    if kind == 18:
        return Cut()
    if kind == 19:
        return Crash(draw(0, 2), draw(0, 1 << 16))
    return draw_record(draw, spec, log, now_us)


def examples(count: int) -> Iterator[Draw]:
    """Always the same sources of integers, for the mutants."""
    return (seeded(seed) for seed in range(count))
