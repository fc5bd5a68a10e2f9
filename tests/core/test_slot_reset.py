"""Which cut a lane is given when it is told where to go on, and why it had to be asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.lane import Lane, LaneCut, LaneRecord, LaneSpec
from pipeline.lane.spec import InputRule
from pipeline.slot.metadata import CutMetadata
from pipeline.slot.ports import Committed, TopicPartition
from pipeline.slot.reset import (
    Place,
    Read,
    Standing,
    doubts,
    go_on,
    go_to,
    moves,
    needed_from_us,
    place,
    read_before,
)

SECOND_US = 1_000_000
META = CutMetadata(
    cut=9,
    owner="run-1",
    start=6,
    floor_us=1_000,
    top_us=3_000,
    slots=2,
    rules="rules",
    topic_id="id",
)
MIC = TopicPartition("in.mic", 2)
CAM = TopicPartition("in.cam", 2)


def at(
    partition: TopicPartition = MIC,
    offset: int = 8,
    begin: int = 0,
    end: int = 10,
    topic_id: str = "id",
    **changed: object,
) -> Place:
    entry = Committed(offset, replace(META, **changed).dump())
    return place(partition, topic_id, entry, begin, end)


def bare(partition: TopicPartition = MIC, begin: int = 0, end: int = 10) -> Place:
    return place(partition, "id", None, begin, end)


def lane_of(mic: Place, cam: Place | None = None, **more: int) -> Standing:
    return Standing(2, {"mic": mic, "cam": cam or at(CAM, 5, start=5)}, **more)


WHOLE = lane_of(at())
FOREIGN = place(MIC, "id", Committed(4, ""), 0, 10)


def test_a_sound_lane_and_one_that_nobody_ran_are_in_no_doubt():
    assert doubts(WHOLE, "rules") == []
    assert doubts(lane_of(bare(), bare(CAM)), "rules") == []


@pytest.mark.parametrize(
    ("standing", "why"),
    [
        (lane_of(bare()), "no offset of in.mic is committed"),
        (lane_of(FOREIGN), "the offset of in.mic was committed by another tool or version"),
        (lane_of(at(topic_id="new")), "in.mic was recreated"),
        (lane_of(at(begin=7)), "retention passed what open windows need of in.mic"),
        (lane_of(at(end=7)), "the log of in.mic ends before the committed position"),
        (
            lane_of(at(rules="old")),
            "the file decides otherwise about records than the last run",
        ),
        (lane_of(at(cut=10)), "its inputs were committed at different cuts"),
        (lane_of(at(owner="run-2")), "its inputs were committed at different cuts"),
        (
            lane_of(bare(), bare(CAM), emitted_us=5),
            "its offsets are gone, though the results topic holds its windows",
        ),
    ],
)
def test_what_recovery_would_refuse_is_named(standing, why):
    assert doubts(standing, "rules") == [why]


def test_it_goes_on_from_the_oldest_kept_record_with_the_floor_at_the_newest_window():
    cut = go_on(WHOLE, {})
    places = {"mic": 6, "cam": 5}
    assert cut == LaneCut(10, places, places, floor_us=3_000, top_us=3_000)


@pytest.mark.parametrize(
    ("floor_us", "top_us", "closed_us"), [(5, 3, 5), (None, 3, 3), (5, None, 5), (None, None, None)]
)
def test_the_floor_never_falls(floor_us, top_us, closed_us):
    times = {"floor_us": floor_us, "top_us": top_us}
    cut = go_on(lane_of(at(**times), at(CAM, 5, **times)), {})
    assert (cut.floor_us, cut.top_us) == (closed_us, top_us)


@pytest.mark.parametrize(
    ("mic", "position"),
    [
        (bare(), 3),  # where it is told
        (FOREIGN, 4),  # whoever put it there meant it
        (at(topic_id="new", begin=1), 1),  # none of the new topic was read
        (at(begin=7), 7),
        (at(end=5), 5),
        (at(begin=9, end=9), 9),
    ],
)
def test_where_the_log_or_the_offset_is_gone_it_begins_with_what_is_there(mic, position):
    cut = go_on(lane_of(mic), {"mic": 3})
    assert cut.positions == cut.froms == {"mic": position, "cam": 5}
    assert (cut.number, cut.floor_us) == (10, 3_000)


def test_without_offsets_the_results_tell_what_was_emitted():
    cut = go_on(lane_of(bare(), bare(CAM), emitted_us=7_000), {"mic": 3, "cam": 2})
    places = {"mic": 3, "cam": 2}
    assert cut == LaneCut(1, places, places, floor_us=7_000, top_us=7_000)


def test_to_a_place_it_begins_as_one_that_never_ran_with_the_next_number():
    assert go_to(WHOLE, {"mic": 0, "cam": 1}) == LaneCut(
        10, {"mic": 0, "cam": 1}, {"mic": 0, "cam": 1}
    )


def test_what_is_read_again_and_what_is_skipped_is_counted_by_input():
    found = moves(WHOLE, go_to(WHOLE, {"mic": 2, "cam": 9}))
    assert [(m.input, m.before, m.after, m.again, m.skipped) for m in found] == [
        ("mic", 8, 2, 6, 0),
        ("cam", 5, 9, 0, 4),
    ]


def test_of_a_recreated_topic_or_without_an_offset_nothing_can_be_counted():
    for mic in (at(topic_id="new"), bare()):
        [found, _] = moves(lane_of(mic), go_to(WHOLE, {"mic": 2, "cam": 5}))
        assert (found.again, found.skipped) == (0, 0)


def test_only_what_was_surely_read_before_may_be_passed_over():
    def span(standing: Standing) -> Read | None:
        return read_before(standing, go_on(standing, {"mic": 3, "cam": 3})).get("mic")

    assert span(WHOLE) == Read(6, 8, None)
    assert span(lane_of(at(end=7))) == Read(6, 7, None)
    for unsure in (bare(), FOREIGN, at(topic_id="new")):
        assert span(lane_of(unsure)) is None
    gone = lane_of(bare(), bare(CAM), emitted_us=7_000, emitted_at_us=9_000)
    assert span(gone) == Read(3, 10, 9_000)


SPEC = LaneSpec((InputRule("mic", True, 0),), SECOND_US, SECOND_US // 2, idle_us=5 * SECOND_US)


def test_a_record_is_needed_from_the_first_window_that_is_still_to_be_emitted_on():
    def needed_us(top_us: int, **changed: int) -> int | None:
        standing = lane_of(at(floor_us=None, top_us=top_us), at(CAM, 5, floor_us=None, top_us=0))
        return needed_from_us(standing, replace(SPEC, **changed))

    assert needed_us(3 * SECOND_US) == 2_500_000
    assert needed_us(3 * SECOND_US + 1) == 2_500_000
    assert needed_us(3 * SECOND_US - 1) == 2 * SECOND_US
    assert needed_us(3 * SECOND_US, before_us=200_000) == 2_300_000
    assert needed_us(3 * SECOND_US, hop_us=SECOND_US) == 3 * SECOND_US
    assert needed_from_us(lane_of(bare(), bare(CAM)), SPEC) is None


def applied(lane: Lane, offset: int, ts_us: int) -> list[tuple[int, int]]:
    record = LaneRecord("mic", offset, ts_us, "s", ts_us, ts_us + 250_000)
    return [(w.start_us, w.end_us) for w in lane.apply(record).closed]


def test_a_lane_that_goes_on_emits_every_later_window_and_none_again():
    """Quarters of a second; sliding windows; then the same lane under shorter ones."""
    lane = Lane(SPEC, LaneCut(0, {"mic": 0}, {"mic": 0}))
    emitted = [w for n in range(13) for w in applied(lane, n, n * 250_000)]
    assert emitted[-1] == (2 * SECOND_US, 3 * SECOND_US)
    old = lane.cut()
    mic = at(
        offset=old.positions["mic"],
        start=old.froms["mic"],
        end=20,
        floor_us=old.floor_us,
        top_us=old.top_us,
    )
    cut = go_on(Standing(2, {"mic": mic}), {})
    shorter = replace(SPEC, size_us=SECOND_US // 2)
    lane = Lane(shorter, cut)
    again = [w for n in range(cut.positions["mic"], 17) for w in applied(lane, n, n * 250_000)] + [
        (w.start_us, w.end_us) for w in lane.finish()
    ]
    assert again == [(3_000_000, 3_500_000), (3_500_000, 4_000_000), (4_000_000, 4_500_000)]
