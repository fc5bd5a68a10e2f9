"""A reset on an in-memory log: what it plans, whom it ends, and what it never moves under."""

from __future__ import annotations

import threading

import pytest
from pipelines import (
    CHAT,
    SECOND_US,
    broker_for,
    committed,
    connector_for,
    load,
    sent,
    values,
)

from pipeline.errors import Fenced, MotetError, Transient
from pipeline.lane import LaneCut
from pipeline.local import run_local, take_slots
from pipeline.slot import metadata
from pipeline.slot.ports import TopicPartition
from pipeline.tasks.host import RunControl
from pipeline.tasks.resetting import move, plan_reset
from pipeline.tasks.retry import Retry
from pipeline.tasks.starting import check_topics

CHANGED = {"windows.size": "2s", "windows.hop": "1s"}
RETRY = Retry(threading.Event())


def fill(broker, seconds: range, lane: int = 0) -> None:
    for second in seconds:
        broker.append(sent("in.chat", b"words %d" % second, second * SECOND_US, lane=lane))


def run(spec, broker) -> None:
    run_local(spec, connector_for(broker), RunControl(until_end=True))


def planned(spec, broker, target=None):
    connector = connector_for(broker)
    layout = check_topics(spec, connector.control())
    return connector, layout, plan_reset(spec, connector, layout, target)


def reset(spec, broker, target=None) -> None:
    connector, layout, plan = planned(spec, broker, target)
    move(spec, connector, layout, plan, RETRY)


def windows(broker) -> list[tuple[int, int]]:
    found = [value["window"] for value in values(broker, "out.results")]
    return [(w["start_us"] // SECOND_US, w["end_us"] // SECOND_US) for w in found]


@pytest.fixture
def broker():
    return broker_for(load(CHAT), lanes=1)


def test_windows_of_another_size_go_on_behind_the_newest(broker):
    fill(broker, range(3))
    run(load(CHAT), broker)
    changed = load(CHAT, CHANGED)
    reset(changed, broker)
    fill(broker, range(3, 5))
    run(changed, broker)
    assert windows(broker) == [(0, 1), (1, 2), (2, 3), (2, 4), (3, 5), (4, 6)]


def test_what_a_stream_that_lagged_loses_is_late_and_never_gone_without_a_word(broker):
    """Its window ends before one of another stream that was emitted."""
    for stream, second in (("a", 0), ("b", 0), ("a", 1), ("a", 2), ("b", 1), ("a", 3)):
        value = b"%s %d" % (stream.encode(), second)
        broker.append(sent("in.chat", value, second * SECOND_US, stream=stream))
    old = load(CHAT)
    layout = check_topics(old, connector_for(broker).control())
    cut = LaneCut(4, {"chat": 6}, {"chat": 1}, floor_us=0, top_us=3 * SECOND_US)
    broker.set_committed("chat", layout.identity(old, 0, "run-1").offsets(0, cut))
    changed = load(CHAT, CHANGED)
    _, _, plan = planned(changed, broker)
    # what is needed begins with [2, 4): its first record is a's third, at offset 3
    assert plan.cuts[0] == LaneCut(5, {"chat": 3}, {"chat": 3}, 3 * SECOND_US, 3 * SECOND_US)
    reset(changed, broker)
    broker.append(sent("in.chat", b"b 2", 2 * SECOND_US, stream="b"))
    run(changed, broker)
    found = [
        (v["stream"], v["window"]["start_us"] // SECOND_US) for v in values(broker, "out.results")
    ]
    assert sorted(found) == [("a", 2), ("a", 3), ("b", 2)]
    late = [(r.key, r.value) for r in committed(broker, "out.late")]
    assert (b"b", b"b 1") in late


def test_a_second_reset_finds_nothing_to_do(broker):
    fill(broker, range(3))
    run(load(CHAT), broker)
    changed = load(CHAT, CHANGED)
    reset(changed, broker)
    assert planned(changed, broker)[2].cuts == {}


def test_where_offsets_are_gone_only_what_may_count_is_read_again(broker):
    fill(broker, range(5))
    run(load(CHAT), broker)
    chat = TopicPartition("in.chat", 0)
    broker.set_committed("chat", {chat: None})
    fill(broker, range(5, 7))
    _, _, plan = planned(load(CHAT), broker)
    assert plan.doubts[0] == ["its offsets are gone, though the results topic holds its windows"]
    assert plan.cuts[0].positions == {"chat": 5}
    assert plan.cuts[0].floor_us == plan.cuts[0].top_us == 5 * SECOND_US
    reset(load(CHAT), broker)
    run(load(CHAT), broker)
    assert windows(broker) == [(n, n + 1) for n in range(7)]
    assert values(broker, "out.late") == []


def test_a_run_that_is_still_there_is_fenced(broker):
    spec = load(CHAT)
    connector = connector_for(broker)
    layout = check_topics(spec, connector.control())
    owners, cuts = take_slots(spec, connector, layout, RETRY)
    reset(spec, broker, "latest")
    with pytest.raises(Fenced):
        owners[0].committer.commit(cuts[0], [])


def test_ids_of_a_larger_number_of_slots_are_fenced_too():
    old, new = load(CHAT, {"slots": 3}), load(CHAT, {"slots": 1})
    broker = broker_for(old, lanes=3)
    connector = connector_for(broker)
    owners, cuts = take_slots(old, connector, check_topics(old, connector.control()), RETRY)
    reset(new, broker, "earliest")
    for slot, owner in owners.items():
        with pytest.raises(Fenced):
            owner.committer.commit(cuts[slot], [])


def test_what_changed_since_the_plan_is_not_moved_over(broker):
    spec = load(CHAT)
    fill(broker, range(2))
    run(spec, broker)
    connector, layout, plan = planned(spec, broker, "earliest")
    fill(broker, range(2, 4))
    run(spec, broker)
    chat = TopicPartition("in.chat", 0)
    before = broker.committed("chat", chat)
    with pytest.raises(MotetError, match="nothing was moved"):
        move(spec, connector, layout, plan, RETRY)
    assert broker.committed("chat", chat) == before


def test_a_run_that_began_meanwhile_keeps_what_it_took(broker, monkeypatch):
    spec = load(CHAT)
    connector, layout, plan = planned(spec, broker, "latest")
    taken = []

    def hook(step: str, _port: object) -> None:
        if step == "begin" and not taken:
            taken.append(None)
            taken[0] = take_slots(spec, connector, layout, RETRY)

    monkeypatch.setattr(broker, "hook", hook)
    with pytest.raises(Fenced):
        move(spec, connector, layout, plan, RETRY)
    owners, cuts = taken[0]
    owners[0].committer.commit(cuts[0], [])


def test_a_reply_that_is_lost_is_no_second_cut(broker, monkeypatch):
    spec = load(CHAT)
    fill(broker, range(2))
    connector, layout, plan = planned(spec, broker, "latest")
    lost = []

    def hook(step: str, _port: object) -> None:
        if step == "commit-reply" and not lost:
            lost.append(step)
            raise Transient("the reply is lost")

    monkeypatch.setattr(broker, "hook", hook)
    move(spec, connector, layout, plan, RETRY)
    chat = TopicPartition("in.chat", 0)
    entry = broker.committed("chat", chat)
    assert lost
    assert (entry.offset, metadata.load(chat, entry).cut) == (2, 1)
