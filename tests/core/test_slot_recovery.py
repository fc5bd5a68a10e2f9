"""Where a slot goes on: every doubt is an error that names the way out, never a silent jump."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.errors import PositionLost
from pipeline.lane.record import LaneCut
from pipeline.slot import metadata
from pipeline.slot.committer import SlotIdentity
from pipeline.slot.ports import Committed, OutRecord, TopicPartition
from pipeline.slot.recovery import committed_slots, recover

TOPICS = {"mic": "in.mic", "cam": "in.cam"}
LANES = (0, 2)
MIC, CAM = TopicPartition("in.mic", 2), TopicPartition("in.cam", 2)
CUT = LaneCut(9, {"mic": 8, "cam": 5}, {"mic": 6, "cam": 5}, floor_us=1_000, top_us=3_000)


@pytest.fixture
def broker():
    broker = MemoryBroker(clock=lambda: 1_000_000)
    for topic in (*TOPICS.values(), "results"):
        broker.create_topic(topic, 3)
    for topic in TOPICS.values():
        for lane in range(3):
            for number in range(10):
                broker.append(OutRecord(topic, lane, b"s", b"%d" % number, []))
    return broker


@pytest.fixture
def identity(broker):
    ids = {topic: broker.info(topic).topic_id for topic in TOPICS.values()}
    return SlotIdentity("lobby", 0, 2, "run-2", "rules", TOPICS, ids, LANES)


def commit(broker, identity, cuts: dict[int, LaneCut], owner: str = "run-1", slots: int = 2):
    old = replace(identity, owner=owner, slots=slots)
    for lane, cut in cuts.items():
        broker.set_committed("lobby", old.offsets(lane, cut))


def recovered(broker, identity):
    """What is recovered, and which partitions the start position was asked for."""
    asked: list[TopicPartition] = []

    def start(partitions):
        asked.extend(partitions)
        return dict.fromkeys(partitions, 3)

    control = MemoryConnector(broker).control()
    return recover(identity, control, start, "results"), asked


def lost(broker, identity) -> str:
    with pytest.raises(PositionLost) as caught:
        recovered(broker, identity)
    said = str(caught.value)
    assert "\n" not in said
    assert "motet reset FILE" in said
    assert caught.value.exit_code == 2
    return said


def test_a_pipeline_that_never_ran_begins_at_its_start(broker, identity):
    found, asked = recovered(broker, identity)
    start = LaneCut(0, {"mic": 3, "cam": 3}, {"mic": 3, "cam": 3})
    assert found.cuts == {0: start, 2: start}
    assert found.owners == {0: None, 2: None}
    assert set(asked) == set(identity.partitions())


def test_what_was_committed_is_gone_on_from(broker, identity):
    other = LaneCut(4, {"mic": 2, "cam": 10}, {"mic": 0, "cam": 10})
    commit(broker, identity, {0: other, 2: CUT})
    found, asked = recovered(broker, identity)
    assert found.cuts == {0: other, 2: CUT}
    assert found.owners == {0: "run-1", 2: "run-1"}
    assert asked == []


def test_lanes_may_differ_in_who_had_them_and_one_may_be_new(broker, identity):
    """Another number of slots cut them otherwise, or a run ended between two claims."""
    commit(broker, identity, {2: CUT}, owner="run-0", slots=3)
    found, asked = recovered(broker, identity)
    assert found.cuts[2] == CUT
    assert found.cuts[0].number == 0
    assert found.owners == {0: None, 2: "run-0"}
    assert {tp.partition for tp in asked} == {0}


def test_a_recovered_cut_is_committed_unchanged_by_a_claim(broker, identity):
    commit(broker, identity, {0: CUT, 2: CUT})
    found, _ = recovered(broker, identity)
    assert identity.offsets(2, found.cuts[2]) == {
        tp: Committed(entry.offset, entry.metadata.replace("run-1", "run-2"))
        for tp in (MIC, CAM)
        if (entry := broker.committed("lobby", tp))
    }


def test_inputs_of_a_lane_at_different_cuts(broker, identity):
    commit(broker, identity, {0: CUT, 2: CUT})
    newer = identity.offsets(2, replace(CUT, number=10))
    broker.set_committed("lobby", {MIC: newer[MIC]})
    assert "lane 2: its inputs were committed at different cuts ([9, 10])" in lost(broker, identity)


@pytest.mark.parametrize("change", [{"owner": "run-x"}, {"floor_us": 7}])
def test_inputs_of_a_lane_by_different_runs_or_floors(broker, identity, change):
    commit(broker, identity, {0: CUT, 2: CUT})
    entry = broker.committed("lobby", MIC)
    other = replace(metadata.load(MIC, entry), **change)
    broker.set_committed("lobby", {MIC: Committed(entry.offset, other.dump())})
    assert "lane 2: its inputs were committed at different cuts" in lost(broker, identity)


def test_one_input_without_a_commit(broker, identity):
    commit(broker, identity, {0: CUT, 2: CUT})
    broker.set_committed("lobby", {CAM: None})
    assert "in.cam[2]: none are committed, though others of lane 2 are" in lost(broker, identity)


def test_offsets_of_another_tool(broker, identity):
    commit(broker, identity, {0: CUT, 2: CUT})
    broker.set_committed("lobby", {MIC: Committed(4, "")})
    assert "in.mic[2] = 4: they were committed without motet's metadata" in lost(broker, identity)


def test_a_file_that_decides_otherwise_about_records(broker, identity):
    commit(broker, identity, {0: CUT, 2: CUT})
    said = lost(broker, replace(identity, rules="other"))
    assert said.startswith("pipeline file: it decides otherwise about records")
    assert "other is not rules" in said


def test_a_topic_that_was_recreated(broker, identity):
    commit(broker, identity, {0: CUT, 2: CUT})
    broker.delete_topic("in.cam")
    broker.create_topic("in.cam", 3)
    ids = {topic: broker.info(topic).topic_id for topic in TOPICS.values()}
    assert "topic in.cam: it was recreated" in lost(broker, replace(identity, topic_ids=ids))


def test_retention_that_passed_what_open_windows_need(broker, identity):
    commit(broker, identity, {0: CUT, 2: CUT})
    broker.truncate(MIC, 6)
    assert recovered(broker, identity)[0].cuts[2] == CUT
    broker.truncate(MIC, 7)
    said = lost(broker, identity)
    assert "in.mic[2]: open windows need offset 6, and its log begins at 7 now" in said


def test_retention_up_to_the_position_loses_nothing_where_nothing_is_open(broker, identity):
    done = replace(CUT, positions={"mic": 10, "cam": 10}, froms={"mic": 10, "cam": 10})
    commit(broker, identity, {0: done, 2: done})
    broker.truncate(MIC, 10)
    assert recovered(broker, identity)[0].cuts[2] == done


def test_a_log_that_ends_before_the_position(broker, identity):
    commit(broker, identity, {0: CUT, 2: replace(CUT, positions={"mic": 11, "cam": 5})})
    assert "in.mic[2]: committed position 11 is past its end 10" in lost(broker, identity)


@pytest.mark.parametrize("source", [b"motet/lobby", b"motet/lobby-2", None])
def test_offsets_that_expired_though_results_are_there(broker, identity, source):
    headers = [("ce_source", source)] if source else []
    broker.append(OutRecord("results", 2, b"s", b"{}", headers))
    if source != b"motet/lobby":  # another pipeline's results, or none of motet's
        assert recovered(broker, identity)[0].cuts[2].number == 0
        return
    said = lost(broker, identity)
    assert "group lobby: none are committed for lane 2, though results holds results" in said


def test_results_of_a_lane_that_is_committed_are_no_doubt(broker, identity):
    broker.append(OutRecord("results", 2, b"s", b"{}", [("ce_source", b"motet/lobby")]))
    commit(broker, identity, {2: CUT})
    assert recovered(broker, identity)[0].owners == {0: None, 2: "run-1"}


def test_the_largest_number_of_slots_that_was_ever_committed(broker, identity):
    control = MemoryConnector(broker).control()
    partitions = [TopicPartition(topic, lane) for topic in TOPICS.values() for lane in range(3)]
    assert committed_slots(control, "lobby", partitions) == 0
    commit(broker, identity, {0: CUT}, slots=2)
    commit(broker, identity, {1: CUT}, slots=8)
    commit(broker, identity, {2: CUT}, slots=5)
    assert committed_slots(control, "lobby", partitions) == 8
    assert committed_slots(control, "lobby-2", partitions) == 0
