"""When a run may say that it is done: all that it wrote can be read."""

from __future__ import annotations

import threading

import pytest
from pipelines import LOBBY, broker_for, connector_for, load

from pipeline.errors import Transient
from pipeline.slot.ports import OutRecord
from pipeline.tasks import ending
from pipeline.tasks.ending import await_readable
from pipeline.tasks.starting import check_topics


@pytest.fixture
def world():
    """A pipeline, its layout, its control port, and a transaction that is open in an output."""
    spec = load(LOBBY)
    connector = connector_for(broker_for(spec, lanes=2))
    control = connector.control()
    sink = connector.sink("other", "other")
    sink.open()
    sink.begin()
    sink.produce([OutRecord(spec.outputs.late, 1, b"k", b"v", ())])
    return spec, check_topics(spec, control), control, sink


def test_it_waits_for_a_transaction_that_is_still_open(world):
    spec, layout, control, sink = world
    said: list[str] = []
    asked = threading.Event()

    class Watched:
        log_ends = staticmethod(control.log_ends)

        def stable_ends(self, partitions):
            asked.set()
            return control.stable_ends(partitions)

    waiting = threading.Thread(target=await_readable, args=(spec, layout, Watched(), said.append))
    waiting.start()
    assert asked.wait(10)
    assert waiting.is_alive()
    sink.commit()
    waiting.join(10)
    assert not waiting.is_alive()
    assert said == []


def test_one_that_hangs_is_told_and_not_waited_for_without_end(world, monkeypatch):
    monkeypatch.setattr(ending, "READABLE_S_MAX", 0.05)
    spec, layout, control, _ = world
    said: list[str] = []
    await_readable(spec, layout, control, said.append)
    assert said == [
        "motet: warning: readers may see the last results a little later: "
        "a transaction in the output topics is still open after 0.05 s"
    ]


def test_a_broker_that_does_not_answer_is_told(world, monkeypatch):
    spec, layout, control, _ = world

    def away(_partitions):
        raise Transient("the broker is away")

    monkeypatch.setattr(control, "log_ends", away)
    said: list[str] = []
    await_readable(spec, layout, control, said.append)
    assert len(said) == 1
    assert said[0].endswith("later: the broker is away")
