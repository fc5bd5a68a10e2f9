"""Whose the slots of an owner are, where its broker says that it is fenced or says nothing."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import pytest
from pipelines import CHAT, broker_for, connector_for, load

from actors import owner
from actors.owner import OwnerPair
from pipeline.errors import MotetError, TakenOver, Transient
from pipeline.tasks.retry import Retry
from pipeline.tasks.starting import SlotOwner, check_topics

RUN = "run"


@pytest.fixture
def world(monkeypatch):
    """An owner that has claimed its slot, and who may take it over; its waits are short."""
    monkeypatch.setattr(owner, "CLAIM_S", 0.05)
    monkeypatch.setattr(owner, "LOOK_S", 0.01)
    spec = load(CHAT, {"slots": 1})
    broker = broker_for(spec, 1)
    connector = connector_for(broker)
    with closing(connector.control()) as control:
        layout = check_topics(spec, control)
    stop = threading.Event()
    places = None  # it starts no process here
    pair = OwnerPair(spec, connector, layout, [0], RUN, {"words": 8}, None, places, stop)
    identity = layout.identity(spec, 0, RUN)
    ours, other = (
        SlotOwner(replace(identity, owner=run), connector, Retry(stop)) for run in (RUN, "other")
    )
    ours.fence()
    ours.recover(spec)
    return SimpleNamespace(pair=pair, other=other, spec=spec, broker=broker, stop=stop)


def test_slots_that_nobody_else_has_claimed_are_ours_after_a_while(world):
    world.other.fence()  # as a coordinator does that miscounts epochs
    world.pair.demand_ours()


def test_a_claim_of_another_run_is_the_end(world):
    world.other.fence()
    world.other.recover(world.spec)
    with pytest.raises(TakenOver, match="took over"):
        world.pair.demand_ours()


def test_a_broker_that_is_away_says_neither(world):
    asked = []

    def hook(step: str, _port: object) -> None:
        if step == "committed":
            asked.append(step)
            if len(asked) == 20:
                world.broker.hook = None
                world.other.fence()
                world.other.recover(world.spec)
            raise Transient("the broker is away")

    world.broker.hook = hook
    with pytest.raises(TakenOver):
        world.pair.demand_ours()
    assert len(asked) == 20


def test_a_run_that_is_told_to_stop_waits_for_no_slot(world, monkeypatch):
    never = SimpleNamespace(wait=lambda refs, timeout: ([], refs))
    monkeypatch.setattr(owner, "ray", never)
    world.stop.set()
    with pytest.raises(MotetError, match="stopped before all slots were taken"):
        world.pair._answer("reference")
