"""The fusion half as a plain object: what reaches it from owners that were, and what does not."""

from __future__ import annotations

import inspect
import textwrap
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import pytest
from pipelines import CHAT, broker_for, committed, connector_for, load, sent

from actors import fusion
from actors.fusion import FusionActor
from actors.packing import pack_messages
from pipeline.lane import LaneCut
from pipeline.tasks.messages import Counts, Cut, Produced
from pipeline.tasks.starting import check_topics

NOTHING = Counts({}, {}, 0, 0, {}, {})
PATIENCE_S = 30.0  # for a transaction that is under way
Deliver = Callable[..., None]


class Ingest:
    """Stands for the other half: knows the cuts that are committed."""

    def __init__(self) -> None:
        self.committed = self
        self.newest = 0
        self.changed = threading.Condition()

    def remote(self, slot: int, numbers: dict[int, int]) -> None:
        with self.changed:
            self.newest = max(numbers.values())
            self.changed.notify_all()

    def wait_for(self, number: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.newest >= number, 30)


def check_epochs(deliver: Deliver) -> None:
    """A record that the half before sent is nowhere; one of this half's is there."""
    spec = load(CHAT)
    broker = broker_for(spec, 1)
    connector = connector_for(broker)
    with closing(connector.control()) as control:
        layout = check_topics(spec, control)
    actor = FusionActor(spec, connector, layout, [0], "run", {"words": 8}, None, False)
    epochs = actor.fence()
    assert isinstance(epochs, dict)
    cuts = actor.recover()
    assert isinstance(cuts, dict)
    start: LaneCut = cuts[0][0]
    ingest = Ingest()
    actor.meet(ingest)
    actor.start()
    try:
        stale = [Produced(0, sent("out.late", b"stale", 0))]
        ours = [Produced(0, sent("out.late", b"ours", 0)), _cut(start, start.number + 1)]
        deliver(actor, {(0, epochs[0] - 1): pack_messages(stale)})
        deliver(actor, {(0, epochs[0]): pack_messages(ours)})
        ingest.wait_for(start.number + 1)
    finally:
        actor.stop(PATIENCE_S)
    assert [record.value for record in committed(broker, "out.late")] == [b"ours"]


def _cut(before: LaneCut, number: int) -> Cut:
    return Cut(0, replace(before, number=number), NOTHING, last=True)


def test_messages_of_an_older_epoch_are_dropped() -> None:
    check_epochs(FusionActor.deliver)


def test_without_comparing_epochs_they_would_be_committed(
    record_property: Callable[[str, object], None],
) -> None:
    """The mutant of the safeguard: the same method without its condition."""
    condition = "            if epoch == self._owners[slot].epoch\n"
    source = inspect.getsource(FusionActor.deliver)
    assert source.count(condition) == 1
    names = dict(vars(fusion))
    exec(textwrap.dedent(source.replace(condition, "")), names)
    with pytest.raises(AssertionError, match="stale"):
        check_epochs(names["deliver"])
    record_property("mutant", "messages of an older epoch are taken")
    record_property("found", "a record that the half before sent is committed")
