"""How a pipeline takes its slots: topics checked, every id fenced, then recovered and claimed."""

from __future__ import annotations

import threading

import pytest
from pipelines import LOBBY, broker_for, connector_for, load, sent

from pipeline.errors import Fenced, InvalidInput, PositionLost, Problem
from pipeline.local import take_slots
from pipeline.slot import metadata
from pipeline.slot.ports import TopicPartition
from pipeline.tasks.retry import Retry
from pipeline.tasks.starting import SlotOwner, check_topics, stale_ids, start_positions

OUT = {"stages.words.out": "out.words"}


def problems(spec, broker) -> dict[str, list[Problem]]:
    """By key; one topic may have several."""
    with pytest.raises(InvalidInput) as caught:
        check_topics(spec, connector_for(broker).control())
    assert caught.value.exit_code == 2
    found: dict[str, list[Problem]] = {}
    for problem in caught.value.problems:
        assert "\n" not in str(problem)
        assert problem.remedy
        found.setdefault(problem.key, []).append(problem)
    return found


def recreate(broker, topic: str, partitions: int, **settings) -> None:
    broker.delete_topic(topic)
    broker.create_topic(topic, partitions, **settings)


def test_topics_that_fit_give_the_lanes_their_ids_and_the_outputs_limits():
    spec = load(LOBBY, OUT)
    broker = broker_for(spec, lanes=3)
    recreate(broker, "out.dead", 5, max_message_bytes=777)
    layout = check_topics(spec, connector_for(broker).control())
    assert layout.lanes == 3
    assert layout.topic_ids == {t: broker.info(t).topic_id for t in spec.topics_in()}
    assert layout.message_bytes == {t: broker.info(t).max_message_bytes for t in spec.topics_out()}
    assert layout.message_bytes["out.dead"] == 777


def test_all_that_is_wrong_with_the_topics_is_told_at_once():
    spec = load(LOBBY, OUT)
    broker = broker_for(spec, lanes=4)
    broker.delete_topic("in.chat")
    broker.delete_topic("out.words")
    recreate(broker, "in.cam", 6, compacted=True)
    recreate(broker, "out.late", 5)
    found = problems(spec, broker)
    assert found.keys() == {
        "inputs.chat.topic",
        "stages.words.out",
        "inputs.mic.topic",
        "inputs.cam.topic",
        "outputs.results",
        "outputs.late",
        "outputs.dead_letter",
    }
    assert found["inputs.chat.topic"][0].why == "it is not there"
    assert "motet topics create FILE" in found["stages.words.out"][0].remedy
    assert "4 partitions, fewer than the inputs' 6" in found["inputs.mic.topic"][0].why
    assert [problem.why for problem in found["inputs.cam.topic"]] == [
        "it is compacted, so records vanish"
    ]
    assert "5 partitions, fewer than the inputs' 6" in found["outputs.late"][0].why


def test_the_remedy_is_a_command_that_names_the_file_and_the_count_that_fits():
    spec = load(LOBBY, OUT)
    broker = broker_for(spec, lanes=4)
    broker.delete_topic("in.chat")
    recreate(broker, "in.mic", 1)
    with pytest.raises(InvalidInput) as caught:
        check_topics(spec, connector_for(broker).control(), "motet topics create hall.yaml")
    assert str(caught.value).splitlines() == [
        "inputs.chat.topic = in.chat: it is not there; `motet topics create hall.yaml` makes it",
        "inputs.mic.topic = in.mic: it has 1 partition, fewer than the inputs' 4: inputs must have "
        "equally many, since lane p is partition p of each; delete it, and `motet topics create "
        "hall.yaml --partitions 4` makes it anew; or name another topic",
    ]


def test_a_compacted_input_is_refused_and_a_compacted_output_is_not():
    spec = load(LOBBY)
    broker = broker_for(spec, lanes=2)
    recreate(broker, "out.results", 2, compacted=True)
    check_topics(spec, connector_for(broker).control())
    recreate(broker, "in.mic", 2, compacted=True)
    assert problems(spec, broker).keys() == {"inputs.mic.topic"}


def test_outputs_with_more_partitions_than_the_inputs_fit():
    spec = load(LOBBY)
    broker = broker_for(spec, lanes=2)
    for topic in spec.topics_out():
        recreate(broker, topic, 7)
    assert check_topics(spec, connector_for(broker).control()).lanes == 2


def test_lanes_are_spread_over_slots_and_a_slot_without_a_lane_is_none():
    spec = load(LOBBY, {"slots": 4})
    for lanes, expected in (
        (6, {0: (0, 4), 1: (1, 5), 2: (2,), 3: (3,)}),
        (2, {0: (0,), 1: (1,)}),
    ):
        layout = check_topics(spec, connector_for(broker_for(spec, lanes)).control())
        slots = layout.slots(spec)
        assert {s: layout.identity(spec, s, "run").lanes for s in slots} == expected
    identity = layout.identity(spec, 1, "run-9")
    assert identity.transactional_id == "lobby.1"
    assert (identity.owner, identity.slots, identity.rules) == ("run-9", 4, spec.decision_hash())
    assert identity.topics == {"mic": "in.mic", "cam": "in.cam", "chat": "in.chat"}


@pytest.mark.parametrize(
    ("start", "expected"),
    [("earliest", 2), ("latest", 6), ("2020-01-01T00:00:04Z", 4), ("2030-01-01T00:00:00Z", 6)],
)
def test_a_pipeline_that_never_ran_begins_at_its_start(start, expected):
    spec = load(LOBBY, {"start": start})
    broker = broker_for(spec, lanes=1)
    for number in range(6):
        at_us = 1_577_836_800_000_000 + number * 1_000_000
        broker.append(sent("in.mic", b"xx", None, append_us=at_us))
    mic = TopicPartition("in.mic", 0)
    broker.truncate(mic, 2)
    assert start_positions(spec, connector_for(broker).control(), [mic]) == {mic: expected}


# -- taking ---------------------------------------------------------------------------------


def take(spec, broker):
    connector = connector_for(broker)
    layout = check_topics(spec, connector.control())
    return take_slots(spec, connector, layout, Retry(threading.Event()))


def test_a_start_claims_every_partition_with_the_start_positions():
    spec = load(LOBBY, {"slots": 2})
    broker = broker_for(spec, lanes=3)
    broker.append(sent("in.cam", b"x", 0, lane=1))
    broker.truncate(TopicPartition("in.cam", 1), 1)
    owners, cuts = take(spec, broker)
    assert {slot: sorted(lanes) for slot, lanes in cuts.items()} == {0: [0, 2], 1: [1]}
    assert cuts[1][1].positions == {"mic": 0, "cam": 1, "chat": 0}
    runs = set()
    for topic in spec.topics_in():
        for lane in range(3):
            partition = TopicPartition(topic, lane)
            entry = broker.committed("lobby", partition)
            found = metadata.load(partition, entry)
            runs.add(found.owner)
            assert (found.cut, found.slots, found.rules) == (0, 2, spec.decision_hash())
            assert entry.offset == found.start == cuts[lane % 2][lane].positions[topic[3:]]
    assert runs == {owners[0].identity.owner}


def test_a_second_start_takes_over_and_the_first_can_commit_nothing_more():
    spec = load(LOBBY, {"slots": 2})
    broker = broker_for(spec, lanes=2)
    first, cuts = take(spec, broker)
    second, again = take(spec, broker)
    assert cuts == again
    assert first[0].identity.owner != second[0].identity.owner
    for slot in (0, 1):
        with pytest.raises(Fenced):
            first[slot].committer.commit(cuts[slot], [])
        second[slot].committer.commit(cuts[slot], [])


@pytest.mark.parametrize(("before", "after"), [(5, 2), (2, 5), (5, 1), (3, 3)])
def test_owners_under_another_number_of_slots_can_commit_nothing_more(before, after):
    old_spec, new_spec = load(LOBBY, {"slots": before}), load(LOBBY, {"slots": after})
    broker = broker_for(old_spec, lanes=6)
    old, cuts = take(old_spec, broker)
    new, again = take(new_spec, broker)
    assert {lane: cut for lanes in cuts.values() for lane, cut in lanes.items()} == {
        lane: cut for lanes in again.values() for lane, cut in lanes.items()
    }
    for slot, owner in old.items():
        with pytest.raises(Fenced):
            owner.committer.commit(cuts[slot], [])
    for slot, owner in new.items():
        owner.committer.commit(again[slot], [])
        assert owner.committer.retries_total == 0


def test_stale_ids_are_those_of_a_larger_count_and_those_without_a_lane():
    spec = load(LOBBY, {"slots": 4})
    broker = broker_for(spec, lanes=2)
    control = connector_for(broker).control()
    layout = check_topics(spec, control)
    assert stale_ids(spec, layout, control) == ["lobby.2", "lobby.3"]
    take(load(LOBBY, {"slots": 6}), broker)
    assert stale_ids(spec, layout, control) == ["lobby.2", "lobby.3", "lobby.4", "lobby.5"]


def test_an_owner_that_stands_in_for_a_dead_one_takes_only_what_is_still_its_runs():
    spec = load(LOBBY, {"slots": 1})
    broker = broker_for(spec, lanes=1)
    connector = connector_for(broker)
    pause = Retry(threading.Event())
    owners, cuts = take(spec, broker)
    identity = owners[0].identity
    again = SlotOwner(identity, connector, pause, again=True)
    again.fence()
    assert again.recover(spec) == cuts[0]
    again.committer.commit(cuts[0], [])
    others, _ = take(spec, broker)
    for _ in range(2):
        late = SlotOwner(identity, connector, pause, again=True)
        with pytest.raises(Fenced, match="took over"):
            late.fence()
    others[0].committer.commit(cuts[0], [])
    assert others[0].committer.retries_total == 0  # it was not fenced by those that tried


def test_a_file_that_decides_otherwise_does_not_go_on():
    broker = broker_for(load(LOBBY))
    take(load(LOBBY), broker)
    with pytest.raises(PositionLost, match="motet reset FILE"):
        take(load(LOBBY, {"windows.size": "2s"}), broker)
    take(load(LOBBY, {"fusion.of": {"sound": 9, "colour": 1, "words": 1}}), broker)
