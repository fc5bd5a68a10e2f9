"""The ingest half, told fetches, ends and results by hand: what it says, and in which order."""

from __future__ import annotations

import pytest
from ingest_told import RED, START, TOPICS, Told, kinds, raw
from pipelines import LOBBY, SECOND_US, load

from pipeline.batching.batch import JobResult
from pipeline.lane import LaneCut
from pipeline.slot.budget import WINDOW_BYTES
from pipeline.slot.dead_letter_rate import LETTERS_MIN
from pipeline.slot.ports import Fetch, TopicPartition
from pipeline.tasks.ingest import IngestTask
from pipeline.tasks.ingest_slots import RENEWED_US
from pipeline.tasks.ingest_view import BEHIND_US, BUSY_US
from pipeline.tasks.messages import Cut, Opened, Produced, Settled
from pipeline.tasks.metrics import METRICS
from pipeline.tasks.view import BehindView, HoldView


def test_what_happens_in_a_lane_stands_in_its_order_with_a_cut_behind():
    told = Told()
    told.fetch(
        raw("in.cam", 0, 0),
        raw("in.cam", 1, 10 * SECOND_US),  # its clock closes the first window: mic waits for A
        raw("in.cam", 2, 0),  # and this is late
        raw("in.cam", 3, 0, b"no jpeg"),
    )
    told.ends(mic=0, cam=4, chat=0)
    messages = told.pump()
    assert kinds(messages) == ["Opened", "Produced", "Produced", "Cut"]
    window, late, unsound, cut = messages
    assert (window.stream, window.start_us, window.end_us) == ("s", 0, SECOND_US)
    assert (window.present, window.missing, window.stages) == (
        ("cam",),
        ("chat", "mic"),
        ("colour",),
    )
    assert late.record.topic == "out.late"
    assert unsound.record.topic == "out.dead"
    assert cut.cut.number == 1
    assert cut.cut.positions == {"mic": 0, "cam": 4, "chat": 0}
    assert cut.counts.records == {"cam": 4}
    assert cut.counts.late == 1
    assert cut.counts.fates == {
        ("cam", "fused"): 2,
        ("cam", "late"): 1,
        ("cam", "dead_letter"): 1,
    }
    assert cut.counts.record_bytes == {"cam": 3 * len(RED) + 7}
    assert told.pump() == []  # nothing changed: no cut
    [settled] = told.encode()
    assert settled == Settled(0, window.window, "colour", "done", None, (), ())
    assert told.task.dispatcher.windows == 0


def test_a_lane_without_records_commits_again_what_a_broker_would_forget():
    told = Told(lanes=(0, 1))
    told.fetch(raw("in.cam", 0, 0))
    told.ends(mic=0, cam=1, chat=0)
    assert kinds(told.pump()) == ["Cut"]
    told.now_us += RENEWED_US - 1
    assert told.pump() == []
    told.now_us += 1
    again = told.pump()
    assert [(cut.lane, cut.cut.number) for cut in again] == [(0, 2), (1, 1)]
    assert again[0].cut.positions == {"mic": 0, "cam": 1, "chat": 0}
    assert again[1].cut.positions == START
    assert again[0].counts.records == {}
    assert told.pump() == []
    told.now_us += RENEWED_US
    assert kinds(told.pump()) == ["Cut", "Cut"]


def test_inputs_that_are_ahead_are_paused_and_the_one_that_is_waited_for_never():
    told = Told()
    told.fetch(raw("in.cam", 0, 0))
    told.pump()
    cam, mic = TopicPartition("in.cam", 0), TopicPartition("in.mic", 0)
    assert told.task.take_pauses() == ({cam}, set())
    assert set(told.task.ends_wanted(0)) == {mic, TopicPartition("in.chat", 0)}
    assert told.task.take_pauses() == (set(), set())
    told.ends(mic=0, cam=1, chat=0)
    assert kinds(told.pump()) == ["Cut"]
    assert told.task.take_pauses() == (set(), {cam})


def test_over_the_budget_no_record_is_applied_before_a_commit():
    told = Told({"limits.in_flight_bytes": "1B"})
    told.fetch(*(raw("in.cam", n, n * 10 * SECOND_US) for n in range(4)))
    told.ends(mic=0, cam=4, chat=0)
    opened = []
    for number in (1, 2, 3):
        messages = told.pump()
        opened += [m.start_us for m in messages if isinstance(m, Opened)]
        assert len(opened) == number
        assert [m.cut.number for m in messages if isinstance(m, Cut)] == [number]
        assert told.task.in_flight_bytes == {0: len(RED) + WINDOW_BYTES}
        assert told.pump() == []
        told.encode()
        assert told.pump() == []  # encoded is not committed
        told.task.on_committed(0, {0: number})
        assert told.task.in_flight_bytes == {0: 0}
    assert opened == [0, 10 * SECOND_US, 20 * SECOND_US]


def test_one_slots_budget_holds_no_other_slot_up():
    told = Told({"limits.in_flight_bytes": "1B"}, lanes=(0, 1))
    for lane in (0, 1):
        told.fetch(*(raw("in.cam", n, n * 10 * SECOND_US, lane=lane) for n in range(3)))
        told.ends(lane, mic=0, cam=3, chat=0)
    assert sorted(m.lane for m in told.pump() if isinstance(m, Opened)) == [0, 1]
    told.task.on_committed(1, {1: 1})
    assert [m.lane for m in told.pump() if isinstance(m, Opened)] == [1]


def test_of_a_backlog_no_more_is_applied_than_a_stage_does_in_time():
    told = Told({"stages.colour.timeout": "2s"}, paced=True)
    told.fetch(*(raw("in.cam", n, n * 10 * SECOND_US) for n in range(9)))
    told.ends(mic=0, cam=9, chat=0)

    def opened(messages) -> list[int]:
        return [m.start_us // (10 * SECOND_US) for m in messages if isinstance(m, Opened)]

    def run(took_us: int) -> list[int]:
        [batch] = told.task.take_assignments(told.now_us)
        told.now_us += took_us
        told.task.on_batch(batch.number, [JobResult("done")] * len(batch.jobs), told.now_us)
        told.ends(mic=0, cam=9, chat=0)
        return opened(told.pump())

    assert opened(told.pump()) == [0]
    assert told.task.held_by == "colour"
    assert [lane.held_by for lane in told.task.view(0, 0).lanes] == ["colour"]
    assert told.waiting() == [
        "waiting for stage colour in lane 0: "
        "it has as many windows as it does well within its timeout"
    ]
    assert run(1_900_000) == [1]  # two at once would have expired
    assert run(300_000) == [2, 3]
    assert run(310_000) == [4, 5, 6]
    told.task.set_replicas("colour", ["colour-0", "colour-1", "colour-2"])
    told.task.set_limits("colour", 64, 30 * SECOND_US, told.now_us)
    assert opened([*told.pump(), *told.pump()]) == [7]  # it is asked anew with every round
    assert told.task.held_by is None


def test_what_closes_at_once_waits_for_its_turn_and_its_time_begins_then():
    ends = {TopicPartition(topic, 0): 0 for topic in TOPICS}
    ends[TopicPartition("in.cam", 0)] = 3
    spec = load(LOBBY, {"slots": 1, "stages.colour.timeout": "2s"})
    task = IngestTask(spec, {0: {0: LaneCut(0, START, dict(START))}}, ends)
    task.set_replicas("colour", ["colour-0"])
    frames = [raw("in.cam", n, 0, key=b"%d" % n) for n in range(3)]  # of three streams
    task.on_fetches([Fetch("in.cam", 0, frames, 3)], 0)
    task.pump(0)
    assert kinds(task.take_deliveries()[0]) == ["Opened"] * 3 + ["Cut"]
    for now_us in (1_500_000, 3_000_000, 4_500_000):
        [batch] = task.take_assignments(now_us - 1_500_000)
        task.pump(now_us)
        task.on_batch(batch.number, [JobResult("done")], now_us)
    found = task.take_deliveries()[0]
    assert [m.failure for m in found if isinstance(m, Settled)] == [None] * 3
    assert task.finished


def test_a_stage_that_takes_too_long_is_settled_by_the_clock():
    told = Told({"stages.colour.timeout": "2s"})
    told.fetch(raw("in.cam", 0, 0), raw("in.cam", 1, 10 * SECOND_US))
    told.ends(mic=0, cam=2, chat=0)
    told.pump()
    [batch] = told.task.take_assignments(0)
    told.now_us = 2 * SECOND_US - 1
    assert told.pump() == []
    told.now_us = 2 * SECOND_US
    [settled] = told.pump()
    assert (settled.stage, settled.failure) == ("colour", "timeout")
    assert settled.records == (("in.cam", 0, 0),)
    told.task.on_batch(batch.number, [JobResult("too late")], told.now_us)
    assert told.task.take_deliveries() == {}


def test_a_picture_that_cannot_be_decoded_is_a_letter_of_its_window_and_counted_with_a_cut():
    told = Told()
    told.fetch(raw("in.cam", 0, 0), raw("in.cam", 1, 10 * SECOND_US))
    told.ends(mic=0, cam=2, chat=0)
    told.pump()
    [batch] = told.task.take_assignments(0)
    bad = JobResult(failure="undecodable", undecodable=[(("in.cam", 0, 0), "jpeg: broken")])
    told.task.on_batch(batch.number, [bad], 0)
    settled, cut = told.pump()
    [letter] = settled.dead_letters
    assert dict(letter.headers)["motet-error"] == b"jpeg: broken"
    assert settled.records == (("in.cam", 0, 0),)
    assert cut.cut.number == 2
    assert cut.counts.fates == {("cam", "dead_letter"): 1}


def test_a_replay_says_nothing_and_the_first_cut_has_the_next_number():
    cut = LaneCut(7, {"mic": 0, "cam": 2, "chat": 0}, {"mic": 0, "cam": 1, "chat": 0}, floor_us=0)
    told = Told(cut=cut)
    assert told.task.replaying
    assert told.task.assignment() == {
        TopicPartition("in.mic", 0): 0,
        TopicPartition("in.cam", 0): 1,
        TopicPartition("in.chat", 0): 0,
    }
    told.fetch(raw("in.cam", 1, 0), raw("in.cam", 2, 10 * SECOND_US))
    assert not told.task.replaying
    told.ends(mic=0, cam=3, chat=0)
    opened, made = told.pump()
    assert (opened.window, opened.start_us, opened.present) == (1, 0, ("cam",))
    assert made.cut.number == 8
    assert made.counts.records == {"cam": 1}  # the replayed one was counted before


def test_letters_of_replayed_records_are_a_share_of_these_too():
    """Half of what the window holds is bad, and it stays below the limit of half of all."""
    cut = LaneCut(7, {"mic": 0, "cam": 40, "chat": 0}, {"mic": 0, "cam": 0, "chat": 0}, floor_us=0)
    told = Told({"limits.dead_letter_rate": "50%"}, cut=cut)
    told.fetch(*(raw("in.cam", n, n) for n in range(40)), raw("in.cam", 40, 10 * SECOND_US))
    told.ends(mic=0, cam=41, chat=0)
    told.pump()
    [batch] = told.task.take_assignments(0)
    bad = [(("in.cam", 0, n), "jpeg: broken") for n in range(LETTERS_MIN)]
    told.task.on_batch(batch.number, [JobResult(failure="undecodable", undecodable=bad)], 0)
    [settled, _] = told.pump()
    assert len(settled.dead_letters) == LETTERS_MIN == 20


def test_what_a_lane_waits_for_is_said_in_words():
    told = Told()
    assert told.waiting() == [None]
    told.fetch(raw("in.cam", 0, 0), raw("in.cam", 1, 3 * SECOND_US))
    told.ends(mic=0, cam=2, chat=0)
    told.pump()
    [line] = told.waiting()
    # the floor: 3.000001 s less A = 5.2 s; the window ends at 1 s
    assert line == "waiting for mic in lane 0: its windows close in 3.2 s"
    assert not told.overdue()


def test_a_lane_is_overdue_where_an_input_is_silent_for_half_of_idle():
    told = Told()
    for offset in range(9):
        told.fetch(raw("in.cam", offset, offset * SECOND_US // 2))
        told.ends(mic=0, cam=offset + 1, chat=0)
        told.pump()
        # the first window ends at 1 s; B is 0.2 s, half of idle 2.5 s
        assert told.overdue() == (offset * 0.5 >= 1 + 0.2 + 2.5)
    assert told.waiting() == ["waiting for mic in lane 0: its windows close in 2.2 s"]


def test_what_holds_a_window_is_told_and_for_how_long_it_stands_still():
    told = Told()
    told.fetch(raw("in.cam", 0, 0), raw("in.cam", 1, 3 * SECOND_US))
    tenth = bytes(1_600)  # of a second, at 8 kHz
    told.fetch(raw("in.mic", 0, 100_000, tenth))
    told.ends(mic=1, cam=2, chat=0)
    told.pump()
    told.now_us = 2 * SECOND_US
    told.task.view(told.now_us, 0)
    told.now_us = 5 * SECOND_US
    [lane] = told.task.view(told.now_us, 0).lanes
    assert lane.hold == HoldView("s", 0, SECOND_US, {"mic": 200_000}, 3 * SECOND_US, 3_200_000)
    assert (lane.floor_us, lane.behind, lane.full) == (-2_200_000, None, False)
    assert lane.reached == {"cam": 3 * SECOND_US + 1, "mic": 200_000}
    told.fetch(raw("in.mic", 1, 600_000, tenth))  # it goes on, though not far enough
    told.ends(mic=2, cam=2, chat=0)
    told.pump()
    [lane] = told.task.view(told.now_us, 0).lanes
    assert (lane.hold.newest, lane.hold.still_us) == ({"mic": 700_000}, 0)


def test_a_window_that_several_inputs_hold_names_the_last_first():
    told = Told()
    told.fetch(raw("in.cam", 0, 0))
    told.ends(mic=0, cam=1, chat=0)
    told.pump()
    [lane] = told.task.view(0, 0).lanes
    assert list(lane.hold.newest.items()) == [("mic", None), ("cam", 1)]


def test_a_lane_is_overdue_where_an_input_is_behind():
    told = Told()
    told.fetch(raw("in.cam", 0, 0))
    told.ends(mic=1, cam=1, chat=0)
    told.pump()
    assert (told.waiting(), told.overdue()) == ([None], False)
    told.now_us += BEHIND_US
    told.ends(mic=1, cam=1, chat=0)
    told.pump()
    assert told.waiting() == ["waiting for the log of mic in lane 0: it is not read yet"]
    assert told.overdue()
    [lane] = told.task.view(told.now_us, 0).lanes
    assert lane.behind == BehindView("mic", False, BEHIND_US)
    told.fetch(raw("in.mic", 0, 0))
    told.ends(mic=1, cam=1, chat=0)
    told.pump()
    assert not told.overdue()


def test_without_an_end_in_sight_nothing_is_finished():
    told = Told()
    assert not told.task.finished
    assert kinds(told.pump()) == []


@pytest.mark.parametrize("empty", [True, False])
def test_up_to_the_ends_all_is_closed_and_said_once(empty):
    spec = load(LOBBY, {"slots": 1})
    ends = {TopicPartition(topic, 0): 0 for topic in TOPICS}
    records = [] if empty else [raw("in.cam", n, n * SECOND_US) for n in range(3)]
    ends[TopicPartition("in.cam", 0)] = len(records)
    task = IngestTask(spec, {0: {0: LaneCut(0, START, dict(START))}}, ends, paced=False)
    task.set_replicas("colour", ["colour-0"])
    task.on_fetches([Fetch("in.cam", 0, [*records, raw("in.cam", 9, 9 * SECOND_US)], 10)], 0)
    task.pump(0)
    messages = task.take_deliveries()[0]
    assert kinds(messages) == ["Opened"] * len(records) + ["Cut"]
    assert messages[-1].cut.positions["cam"] == len(records)
    assert task.finished == empty
    for batch in task.take_assignments(0):
        task.on_batch(batch.number, [JobResult("x")] * len(batch.jobs), 0)
    assert not any(isinstance(m, Produced) for m in task.take_deliveries().get(0, []))
    assert task.finished
    task.pump(0)
    assert task.take_deliveries() == {}


def test_what_a_stage_will_be_seen_to_take_is_there_from_the_start():
    shown = Told().task.view(0, 0).figures.histograms
    for name in ("batch_size", "queue_seconds", "compute_seconds"):
        assert shown[f"motet_stage_{name}", ("colour",)].count == 0


def test_what_an_ingest_half_shows():
    told = Told({"slots": 2}, lanes=(0, 1))
    wall_us = 100 * SECOND_US
    told.fetch(raw("in.cam", 0, 0), raw("in.cam", 1, 10 * SECOND_US))
    told.ends(mic=0, cam=9, chat=0)
    [opened, _] = told.pump()
    assert opened.append_us == 10 * SECOND_US
    told.now_us = 40_000
    [batch] = told.task.take_assignments(told.now_us)
    told.now_us += BUSY_US // 2
    view = told.task.view(told.now_us, wall_us)
    value = view.figures.value
    assert value("motet_consumer_lag_records", "in.cam", "0") == 7
    assert value("motet_consumer_lag_records", "in.mic", "0") == 0
    assert ("motet_consumer_lag_records", ("in.cam", "1")) not in view.figures.gauges  # unknown
    assert value("motet_event_time_lag_seconds", "cam") == pytest.approx(90 - 1e-6)
    assert ("motet_event_time_lag_seconds", ("mic",)) not in view.figures.gauges
    bound_us, hold_us = 200_000, 200_000 + 5 * SECOND_US
    floor_us = 10 * SECOND_US - hold_us
    assert value("motet_clock_seconds", "cam", "0") * 1e6 == pytest.approx(
        10 * SECOND_US + 1 - bound_us
    )
    assert value("motet_clock_seconds", "mic", "0") * 1e6 == pytest.approx(floor_us)
    assert value("motet_clock_seconds", "chat", "0") * 1e6 == pytest.approx(floor_us)
    assert ("motet_clock_seconds", ("cam", "1")) not in view.figures.gauges
    assert value("motet_in_flight_bytes", "0") == len(RED) + WINDOW_BYTES
    assert value("motet_in_flight_bytes", "1") == 0
    assert value("motet_open_bytes", "0") == len(RED)
    assert value("motet_replay_records") == view.replay_records == 0
    assert value("motet_copartition_violations_total") == 0
    lane, other = view.lanes
    assert (lane.lane, lane.slot, lane.open_windows) == (0, 0, 1)
    assert lane.positions == {"mic": 0, "cam": 2, "chat": 0}
    assert lane.ends == {"mic": 0, "cam": 9, "chat": 0}
    assert lane.waiting == "waiting for mic in lane 0: its windows close in 6.2 s"
    assert (other.ends["cam"], other.waiting) == (None, None)
    told.now_us += BUSY_US // 2
    told.task.on_batch(batch.number, [JobResult("x")], told.now_us)
    told.now_us += BUSY_US
    figures = told.task.view(told.now_us, wall_us).figures
    compute = figures.histograms["motet_stage_compute_seconds", ("colour",)]
    assert (compute.count, compute.total) == (1, BUSY_US / 1e6)
    queue = figures.histograms["motet_stage_queue_seconds", ("colour",)]
    assert (queue.count, queue.total) == (1, 0.04)
    assert figures.histograms["motet_stage_batch_size", ("colour",)].total == 1
    busy = figures.value("motet_stage_busy_ratio", "colour")
    assert busy == pytest.approx((BUSY_US / 2) / (BUSY_US * 1.5))
    assert all(name in METRICS for name, _ in [*figures.counters, *figures.gauges])


def test_a_recovery_shows_how_much_is_left():
    cut = LaneCut(7, {"mic": 4, "cam": 9, "chat": 0}, {"mic": 0, "cam": 3, "chat": 0}, floor_us=0)
    told = Told(cut=cut)
    assert told.task.view(0, 0).replay_records == 10
    told.fetch(raw("in.cam", 3, 0), raw("in.cam", 4, 0))
    assert told.task.view(0, 0).figures.value("motet_replay_records") == 8
