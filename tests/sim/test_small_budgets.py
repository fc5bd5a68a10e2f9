"""No order of stages, inputs and budgets stands still: a search over small ones.

Each case is one owner without faults, on budgets that hold less than one window or hardly more,
with stages that read stages and one input an hour behind the others. Its steps come in any order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from sim_around import Around
from sim_host import Host
from sim_wall import Walls
from sim_world import INPUTS, MS, OUTPUTS, TOPICS, World, draw_world

from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.encoders.checking import check_pipeline
from pipeline.slot.budget import Budget
from pipeline.slot.ports import OutRecord, TopicPartition
from pipeline.tasks.encode import encode_task
from pipeline.tasks.lane_feed import LaneFeed
from pipeline.tasks.results import rfc3339

CASES = 120
HOUR_US = 3_600_000 * MS
ROUNDS_MAX = 1_000  # the longest case takes a quarter
EPOCH_US = 1_700_000_000_000 * MS


class StandsStill(AssertionError):
    """Nothing moves any more, though not all is committed."""


class Case:
    """One owner of a small pipeline, and what lies in its topics."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.now_us = EPOCH_US
        self.world = _small(draw_world(rng), rng)
        self.behind = rng.choice((*INPUTS, None))
        self.broker = MemoryBroker(clock=lambda: self.now_us)
        for topic in TOPICS.values():
            self.broker.create_topic(topic, self.world.lanes, append_time=True)
        for output in OUTPUTS:
            self.broker.create_topic(f"run.{output}", self.world.lanes)
        self._publish()
        spec = self.world.spec().model_copy(update={"slots": rng.randint(1, 2)})
        lengths, cpu = check_pipeline(spec), torch.device("cpu")
        around = Around(
            rng=rng,
            now_us=lambda: self.now_us,
            walls=Walls(seed, lambda: self.now_us, lambda _what: None, steps=False),
            pause=lambda _attempt: None,
            sometimes=lambda _what: None,
            encoders={n: encode_task(spec, n, cpu, lengths) for n in spec.stages},
            lengths=lengths,
            replicas=self.world.replicas,
            call_batches=self.world.call_batches,
            deaths_alone_max=1,
        )
        connector = MemoryConnector(self.broker, fetch_records=self.world.fetch_records)
        self.host = Host("h", "run", spec, connector, around)

    def _publish(self) -> None:
        """The input that is behind has an hour in its log, the others have its last seconds."""
        rng, times = self.rng, []
        for name in INPUTS:
            spread_us = HOUR_US if name == self.behind else 2_000 * MS
            times += [(HOUR_US - rng.randrange(spread_us), name) for _ in range(rng.randint(3, 9))]
        for number, (at_us, name) in enumerate(sorted(times)):
            self.now_us = EPOCH_US + at_us // MS * MS
            stream = rng.randrange(self.world.lanes)
            text = f"#{number} {'long ' * rng.choice((0, 0, 100))}".encode()
            headers = [("ce_time", rfc3339(self.now_us - rng.randint(1, 100) * MS))]
            self.broker.append(OutRecord(TOPICS[name], stream, b"s%d" % stream, text, headers))

    def run(self) -> int:
        """How many rounds it takes until everything is committed; raises StandsStill."""
        host, rng = self.host, self.rng
        while host.phase == "starting":
            host.start_step()
        for done in range(ROUNDS_MAX):
            self.now_us += rng.choice((1, 20, 200)) * MS
            for step in rng.sample(steps := list(self._steps()), len(steps)):
                if rng.random() < 0.7:
                    step()
            if self._settled():
                return done
        raise StandsStill(f"{self.behind} is behind in {self.world}: {host.state()}")

    def _steps(self) -> Iterator[Callable[[], object]]:
        """Whatever an owner does, in no order; each does nothing where there is nothing to do."""
        host, replicas, rng = self.host, self.host.replicas, self.rng
        yield from (host.pump, host.reading.ask_ends, host.hand_on, host.look_for_due)
        yield lambda: host.reading.poll(rng.choice((0, 0, 1, 3)))
        yield lambda: replicas.batches and replicas.encode()
        yield lambda: replicas.results and replicas.tell()
        yield lambda: host.acks and host.ack()
        for slot, inbox in host.inboxes.items():
            yield lambda slot=slot, inbox=inbox: inbox and host.deliver(slot)
            yield lambda slot=slot: slot in host.committing and host.commit(slot)

    def _settled(self) -> bool:
        host = self.host
        if host.task.replaying or host.awaited:
            return False
        return all(
            not feed.lane.open_windows
            and feed.lane.positions[name] == self.broker.log(_place(name, lane)).stable_end
            for lane, feed in host.task.lanes.items()
            for name in INPUTS
        )


def _small(world: World, rng: random.Random) -> World:
    return replace(
        world,
        lanes=rng.randint(1, 2),
        in_flight_bytes=rng.choice((1, 2_049, 5_000)),
        open_bytes=rng.choice((1, 200, 1 << 30)),
        align_wait_us=rng.choice((0, 86_400_000 * MS)),
        timeout_us=86_400_000 * MS,
    )


def _place(name: str, lane: int) -> TopicPartition:
    return TopicPartition(TOPICS[name], lane)


def test_nothing_stands_still_on_small_budgets() -> None:
    for seed in range(CASES):
        try:
            Case(seed).run()
        except StandsStill as error:
            raise AssertionError(f"case {seed}: {error}") from error


def nothing_is_admitted_that_is_larger_than_the_budget(patch: pytest.MonkeyPatch) -> None:
    admits = property(lambda self: self.in_flight_bytes + 2_048 <= self._limit_bytes)
    patch.setattr(Budget, "admits", admits)


def nothing_is_given_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Budget, "committed", lambda self, lane, number: None)


def the_input_that_is_waited_for_is_paused_too(patch: pytest.MonkeyPatch) -> None:
    def ahead(self: LaneFeed) -> list[str]:
        return self.names if any(map(self.merge.buffered, self.names)) else []

    patch.setattr(LaneFeed, "ahead", ahead)


def nothing_is_forced(patch: pytest.MonkeyPatch) -> None:
    """The bound on what is open is met by reading no more, as a budget would be."""
    real = LaneFeed.step

    def step(self: LaneFeed, now_us: int) -> object:
        full = self.lane.kept_bytes > 200
        return None if full else real(self, now_us)

    patch.setattr(LaneFeed, "step", step)


@pytest.mark.parametrize(
    "mutant",
    [
        nothing_is_admitted_that_is_larger_than_the_budget,
        nothing_is_given_back,
        the_input_that_is_waited_for_is_paused_too,
        nothing_is_forced,
    ],
    ids=lambda mutant: mutant.__name__,
)
def test_without_its_rule_something_stands_still(
    mutant: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    mutant(monkeypatch)
    for seed in range(CASES):
        try:
            Case(seed).run()
        except StandsStill:
            record_property("mutant", mutant.__name__.replace("_", " "))
            record_property("found", f"case {seed} stands still")
            return
    pytest.fail(f"{CASES} cases did not find it")
