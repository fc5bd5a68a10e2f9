"""The order of a start that the simulation relies on is the one that a real host keeps."""

from __future__ import annotations

import random
import threading
from dataclasses import replace

from sim_world import OUTPUTS, TOPICS, draw_world

from pipeline.connectors.memory import MemoryConnector, MemoryControl, MemorySink
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.local import take_slots
from pipeline.tasks.retry import Retry
from pipeline.tasks.starting import check_topics

LANES = 4


def test_slot_0_is_fenced_first_and_claimed_first_and_all_ids_are_fenced_between() -> None:
    steps: list[tuple[str, str]] = []

    def hook(step: str, port: object) -> None:
        if isinstance(port, MemorySink):
            steps.append((step, port.transactional_id))
        elif isinstance(port, MemoryControl):
            steps.append((step, "offsets"))

    broker = MemoryBroker()
    for topic in [*TOPICS.values(), *(f"run.{output}" for output in OUTPUTS)]:
        broker.create_topic(topic, LANES, append_time=True)
    connector = MemoryConnector(broker)
    spec = replace(draw_world(random.Random(0)), lanes=LANES).spec()
    layout = check_topics(spec, connector.control())
    retry = Retry(threading.Event())
    take_slots(spec.model_copy(update={"slots": 4}), connector, layout, retry)

    broker.hook = hook
    owners, cuts = take_slots(spec.model_copy(update={"slots": 2}), connector, layout, retry)

    assert sorted(cuts) == sorted(owners) == [0, 1]
    opened = [name for step, name in steps if step == "open-reply"]
    assert opened[0] == "lobby.0"
    assert sorted(opened) == [f"lobby.{slot}" for slot in range(4)]
    asked = steps.index(("committed", "offsets"))
    assert ("open-reply", "lobby.0") in steps[:asked]
    claims = [place for place, (step, _) in enumerate(steps) if step == "begin"]
    assert max(i for i, (step, _) in enumerate(steps) if step == "open-reply") < claims[0]
    claimed = [name for step, name in steps if step == "commit-reply"]
    assert claimed[0] == "lobby.0"
    assert sorted(claimed) == ["lobby.0", "lobby.1"]
    assert steps.index(("commit-reply", "lobby.0")) < claims[1]
