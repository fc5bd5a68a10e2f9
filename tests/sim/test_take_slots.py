"""How a real host takes its slots: in the order that the simulation relies on."""

from __future__ import annotations

import random
import threading
from dataclasses import replace

import pytest
from sim_world import NAME, OUTPUTS, TOPICS, draw_world

from pipeline.connectors.memory import MemoryConnector, MemoryControl
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.connectors.memory_sink import MemorySink
from pipeline.errors import Transient
from pipeline.local import take_slots
from pipeline.slot import metadata
from pipeline.slot.ports import TopicPartition
from pipeline.spec import PipelineSpec
from pipeline.tasks.retry import Retry
from pipeline.tasks.starting import SlotOwner, check_topics

LANES = 4


class World:
    """A broker with the topics of one pipeline; ``steps``: (step, transactional id) as they come,
    where the id is ``offsets`` for a question about committed offsets."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        for topic in [*TOPICS.values(), *(f"run.{output}" for output in OUTPUTS)]:
            self.broker.create_topic(topic, LANES, append_time=True)
        self.connector = MemoryConnector(self.broker)
        self.spec = replace(draw_world(random.Random(0)), lanes=LANES).spec()
        self.layout = check_topics(self.spec, self.connector.control())
        self.retry = Retry(threading.Event())
        self.steps: list[tuple[str, str]] = []

    def with_slots(self, slots: int) -> PipelineSpec:
        return self.spec.model_copy(update={"slots": slots})

    def take(self, slots: int) -> list[int]:
        """A run starts; the slots that it has then."""
        owners, cuts = take_slots(self.with_slots(slots), self.connector, self.layout, self.retry)
        assert sorted(owners) == sorted(cuts)
        return sorted(cuts)

    def claim_one(self, run_id: str, slots: int, slot: int) -> None:
        """A run that ends after its claim of one slot."""
        spec = self.with_slots(slots)
        identity = self.layout.identity(spec, slot, run_id)
        owner = SlotOwner(identity, self.connector, self.retry)
        owner.fence()
        owner.recover(spec)

    def owners(self) -> list[str | None]:
        """By lane, the run that has it."""
        places = [TopicPartition(TOPICS["a"], lane) for lane in range(LANES)]
        found = [(place, self.broker.committed(NAME, place)) for place in places]
        return [entry and metadata.load(place, entry).owner for place, entry in found]

    def watch(self) -> None:
        def hook(step: str, port: object) -> None:
            if isinstance(port, MemorySink):
                self.steps.append((step, port.transactional_id))
            elif isinstance(port, MemoryControl):
                self.steps.append((step, "offsets"))

        self.broker.hook = hook

    def first(self, step: str, name: str) -> int:
        return self.steps.index((step, name))

    def names(self, step: str) -> list[str]:
        return [name for each, name in self.steps if each == step]


@pytest.fixture
def world() -> World:
    return World()


def test_slot_0_is_fenced_first_and_claimed_first_and_every_id_is_fenced_between(
    world: World,
) -> None:
    world.take(slots=4)
    world.watch()

    assert world.take(slots=2) == [0, 1]

    opened = world.names("open-reply")
    assert opened[0] == f"{NAME}.0"
    assert sorted(opened) == [f"{NAME}.{slot}" for slot in range(4)]
    assert world.first("open-reply", f"{NAME}.0") < world.first("committed", "offsets")
    claims = [place for place, (step, _) in enumerate(world.steps) if step == "begin"]
    assert all(step != "open" for step, _ in world.steps[claims[0] :])
    assert world.names("commit-reply") == [f"{NAME}.0", f"{NAME}.1"]
    assert world.first("commit-reply", f"{NAME}.0") < claims[1]


def test_a_slot_may_hold_lanes_that_nobody_has_claimed_yet(world: World) -> None:
    world.claim_one("run-1", slots=4, slot=0)
    assert world.owners() == ["run-1", None, None, None]

    assert world.take(slots=1) == [0]

    assert len(set(world.owners())) == 1
    assert None not in world.owners()


def test_a_claim_of_lanes_that_several_runs_had_survives_an_unknown_outcome(world: World) -> None:
    world.take(slots=2)
    world.claim_one("run-2", slots=2, slot=0)
    assert len(set(world.owners())) == 2
    failures = iter([True])

    def lose_a_step(step: str, port: object) -> None:
        if step == "commit" and next(failures, False):
            raise Transient("simulated")

    world.broker.hook = lose_a_step
    assert world.take(slots=1) == [0]

    assert next(failures, None) is None
    assert len(set(world.owners())) == 1
