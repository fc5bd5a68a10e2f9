"""Random pipelines, and producers whose records have one fate in every order that may occur.

An *exact* world is one where the live run, whatever happens to it, must give what a calm read of
the finished logs gives. That holds while neither silence nor another input's records can decide
about a record. Why it does, by the draws below (T: when a record is appended, in virtual time,
which is what LogAppendTime stamps; ``SEEN``: how long after T it may stay unseen, either because
a stable end up to ``FRESH_US`` old still hides it, or a transaction in front of it is open):

* **Gating inputs.** A record is late by its stream's own clock or by the floor. Its own clock
  hangs on the order of its own partition alone, which is the same in every read. The floor is
  raised by records (to ``min(end, T) - A``) and by silence (by the time that passed, from at most
  that); in the live run it stands at most at ``T + SEEN - A`` before the record is applied, since
  all that was applied earlier was appended before ``T + SEEN``. In the calm read what is applied
  earlier has a merge key of at most T; its ``min(end, T)`` is that key where the input gates,
  and at most ``LONGEST_C_US`` more where it does not. So with ``T - ts`` below
  ``A - after - SEEN - LONGEST_C_US`` the floor decides nothing about any window that the record or
  its context overlaps. Records that are late by their own clock lie within that bound: they are
  late for the same windows, by the same clock, in every read.
* **The input that does not gate.** Its records are judged by the least of the stream's gating
  clocks, which does hang on the interleaving: so they are never late here. Input ``b`` never runs
  ahead, so that clock is at most ``T + SEEN - out_of_orderness(b) - after`` when the record is
  applied (live), and no more in the calm read: ``T - ts`` stays below
  ``out_of_orderness(b) - SEEN``.
* **Input a** may run ahead of the log: that moves its own clock only.
* No stage times out, ``align_wait`` never passes, nothing is forced, and no window takes a
  replica with it three times: those are decided by the host's time or luck, and counted.

A *rough* world breaks all of these rules. There a record's fate may hang on the run, but it must
still be one fate, and no window may be lost, doubled or reordered.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pipeline.lane.merge import FRESH_US
from pipeline.slot.ports import OutRecord, TopicPartition
from pipeline.spec import PipelineSpec, loads
from pipeline.tasks.results import rfc3339

MS = 1000
NAME = "lobby"
INPUTS = ("a", "b", "c")  # c does not gate
TOPICS = {name: f"in.{name}" for name in INPUTS}
OUTPUTS = ("results", "late", "dead", "loud")  # the last is a stage's own
TRANSACTION_US = 60 * MS  # longest that a producer's transaction stays open
SEEN_US = FRESH_US + TRANSACTION_US + 20 * MS
LONGEST_C_US = 100 * MS
RECORD_BYTES = 1024
FUTURE_US = 10_000 * MS


class Size(NamedTuple):
    """How much happens in a life: many are small and cheap, a few are large.

    ``records``: bounds of how many are published before the rest of the ``planned`` faults is
    waited for, over so many ``steps`` at most.
    """

    lanes_max: int
    streams_more: int
    records: tuple[int, int]
    planned: int
    steps: int


SMALL = Size(2, 1, (12, 40), 3, 400)
MEDIUM = Size(4, 2, (30, 90), 5, 700)
LARGE = Size(4, 4, (90, 200), 8, 1200)


@dataclass(frozen=True)
class World:
    """The pipeline file's numbers; every time is a whole number of milliseconds."""

    size: Size
    rough: bool
    shouts: bool  # whether there is one stage more
    lanes: int
    size_us: int
    hop_us: int
    idle_us: int
    disorder_us: dict[str, int]
    before_us: int
    after_us: int
    commit_interval_us: int
    in_flight_bytes: int
    open_bytes: int
    timeout_us: int
    align_wait_us: int
    batch_max: int
    replicas: int
    call_batches: int
    fetch_records: int
    backlog: bool  # whether records lie in the log before the first run

    @property
    def hold_us(self) -> int:
        return max(self.disorder_us["a"], self.disorder_us["b"]) + self.after_us + self.idle_us

    @property
    def lag_max_us(self) -> int:
        """Of a gating record: how far its ts may lie behind its append time."""
        if self.rough:
            return 2 * self.hold_us
        return self.hold_us - self.after_us - SEEN_US - LONGEST_C_US

    @property
    def lag_c_max_us(self) -> int:
        return self.hold_us if self.rough else self.disorder_us["b"] - SEEN_US

    def spec(self) -> PipelineSpec:
        ms = _ms
        prints = {"encoder": "sim_encoders:Fingerprint"}
        stage = {"batch_max": self.batch_max, "timeout": ms(self.timeout_us)}
        context = {"before": ms(self.before_us), "after": ms(self.after_us)}
        stages = {
            "words": {**prints, **stage, "of": ["a", "b", "c"], "context": context},
            "loud": {
                "encoder": "sim_encoders:FailsOnPoison",
                "of": ["a", "c"],
                **stage,
                "out": "run.loud",
            },
            "names": {
                "encoder": "sim_encoders:NamesRead",
                "of": ["a", "b", "c"],
                "batch_max": self.batch_max,
                "timeout": "24h",
            },
            "echo": {**prints, **stage, "of": ["loud", "names"], "timeout": "24h"},
        }
        weights = {"words": 0.5, "echo": 0.3}
        if self.shouts:
            stages["shout"] = {**prints, **stage, "of": "loud"}
            weights["shout"] = 0.2
        tree = {
            "name": NAME,
            "inputs": {
                each: {
                    "topic": TOPICS[each],
                    "type": "text/plain",
                    "gating": each != "c",
                    "out_of_orderness": ms(self.disorder_us[each]),
                }
                for each in INPUTS
            },
            "windows": {
                "size": ms(self.size_us),
                "hop": ms(self.hop_us),
                "idle": ms(self.idle_us),
                "future_max": ms(FUTURE_US),
                "align_wait": ms(self.align_wait_us),
            },
            "stages": stages,
            "fusion": {"rule": "weighted_sum", "of": weights},
            "outputs": {
                "results": "run.results",
                "late": "run.late",
                "dead_letter": "run.dead",
            },
            "commit_interval": ms(self.commit_interval_us),
            "limits": {
                "in_flight_bytes": f"{self.in_flight_bytes}B",
                "open_bytes": f"{self.open_bytes}B",
                "record_bytes": f"{RECORD_BYTES}B",
                "dead_letter_rate": "100%",
            },
        }
        return loads(json.dumps(tree), folder=Path(), environ={})


def _ms(time_us: int) -> str:
    return f"{time_us // MS}ms"


def draw_world(rng: random.Random) -> World:
    life = rng.choices((SMALL, MEDIUM, LARGE), (72, 22, 6))[0]
    rough = rng.random() < 0.25
    size = rng.choice((200, 300, 400, 600))
    hop = rng.choice((*[size] * 5, size // 2, size // 3, rng.randint(size // 4, size)))
    with_context = rng.random() < 0.5
    disorder_b = rng.randint(300, 600)
    return World(
        size=life,
        rough=rough,
        shouts=rng.random() < 0.5,
        lanes=rng.randint(1, life.lanes_max),
        size_us=size * MS,
        hop_us=hop * MS,
        idle_us=rng.randint(300, 1200) * MS,
        disorder_us={"a": rng.randint(0, 400) * MS, "b": disorder_b * MS, "c": 0},
        before_us=rng.randint(0, 400) * MS if with_context else 0,
        after_us=rng.randint(0, 150) * MS if with_context else 0,
        commit_interval_us=rng.choice((1, 20, 100, 300)) * MS,
        in_flight_bytes=rng.choice((1, 6_000, 20_000, 1 << 28, 1 << 28)),
        open_bytes=rng.choice((60, 150, 400)) if rough and rng.random() < 0.7 else 1 << 30,
        timeout_us=(rng.choice((1, 50, 500)) if rough and rng.random() < 0.5 else 86_400_000) * MS,
        align_wait_us=(rng.choice((0, 50, 300)) if rough else 86_400_000) * MS,
        batch_max=rng.choice((1, 2, 3, 8)),
        replicas=rng.randint(1, 3),
        call_batches=rng.choice((1, 1, 2)),
        fetch_records=rng.choice((1, 3, 10, 2000)),
        backlog=rng.random() < 0.3,
    )


@dataclass
class Stream:
    name: str
    lane: int
    active: dict[str, bool]


@dataclass
class Producers:
    """What is published, drawn record by record; times lag behind the append time as above."""

    world: World
    rng: random.Random
    sometimes: Callable[[str], None]
    streams: list[Stream] = field(default_factory=list)
    published: int = 0

    def __post_init__(self) -> None:
        lanes, more = self.world.lanes, self.world.size.streams_more
        for number in range(self.rng.randint(lanes, lanes + more)):
            lane = number if number < lanes else self.rng.randrange(lanes)
            active = {name: self.rng.random() < 0.7 for name in INPUTS}
            self.streams.append(Stream(f"s{number}", lane, active))

    def toggle(self) -> None:
        """A stream starts, pauses or stops in one input."""
        stream, name = self.rng.choice(self.streams), self.rng.choice(INPUTS)
        stream.active[name] = not stream.active[name]

    def draw(self, now_us: int, only: str | None = None) -> OutRecord | None:
        """A record to be appended now (of that input, where one is named); None where the stream
        that was drawn is silent."""
        rng = self.rng
        stream, name = rng.choice(self.streams), only or rng.choice(INPUTS)
        if not stream.active[name]:
            return None
        self.published += 1
        text = f"#{self.published} {rng.choice(('calm', 'blue', 'Ende', 'été'))}"
        if rng.random() < 0.04:
            text += " poison"
        now_us = now_us // MS * MS  # as the log stamps it
        ts_us, length_us = self._times(name, now_us)
        headers = [("ce_time", rfc3339(ts_us))]
        if length_us > 1 or rng.random() < 0.3:
            headers.append(("ce_mediadur", str(length_us).encode()))
        if rng.random() < 0.05 and name != "c" and length_us <= self.world.lag_max_us:
            headers = headers[1:]  # the log's timestamp is its time, and its end lies past it
            if length_us > 1 and name == "b":
                headers = []
        key: bytes | None = stream.name.encode()
        value = text.encode()
        if rng.random() < 0.05:
            key, value, headers = self._unsound(key, value, headers, now_us)
        return OutRecord(TOPICS[name], stream.lane, key, value, headers)

    def _times(self, name: str, now_us: int) -> tuple[int, int]:
        """ts and length; see the module's comment for what bounds them."""
        rng, world = self.rng, self.world
        longest_us = LONGEST_C_US if name == "c" else world.size_us * 6 // 5
        if world.rough:
            longest_us = 2 * world.size_us
        lag_max_us = world.lag_c_max_us if name == "c" else world.lag_max_us
        length_us = 1 if rng.random() < 0.4 else rng.randint(1, min(longest_us, lag_max_us))
        if name == "c":
            return now_us - rng.randint(0, lag_max_us), length_us
        usual_us = max(length_us, min(world.disorder_us[name], lag_max_us))
        lag_us = rng.randint(length_us, usual_us)
        if rng.random() < 0.12:
            lag_us = rng.randint(length_us, lag_max_us)
        if name == "a" and rng.random() < 0.03:
            lag_us -= rng.randint(0, 2 * world.size_us)
            self.sometimes("a record ahead of the log")
        return now_us - lag_us, length_us

    def _unsound(
        self, key: bytes | None, value: bytes, headers: list[tuple[str, bytes]], now_us: int
    ) -> tuple[bytes | None, bytes, list[tuple[str, bytes]]]:
        kind = self.rng.randrange(7)
        without_time = [header for header in headers if header[0] != "ce_time"]
        if kind == 0:
            return key, value, [*without_time, ("ce_time", b"yesterday")]
        if kind == 1:
            return None, value, headers
        if kind == 2:
            return key, b"\xff\xfe", headers
        if kind == 3:
            return key, value + b"x" * RECORD_BYTES, headers
        if kind == 4:
            return key, value, [*without_time, ("ce_time", rfc3339(now_us + 2 * FUTURE_US))]
        if kind == 5:
            return key, value, [*headers, ("ce_mediadur", b"0")]
        return key, b"", headers

    def partitions(self) -> list[TopicPartition]:
        return [
            TopicPartition(t, lane) for lane in range(self.world.lanes) for t in TOPICS.values()
        ]
