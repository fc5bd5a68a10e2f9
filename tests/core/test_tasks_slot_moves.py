"""A slot leaves an owner and comes to another, step by step: what it finishes, and what is left
alone of all others. (Whole pipelines with moves, and crashes amid them: tests/sim.)"""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_told import START, Told, kinds, raw
from pipelines import LOBBY, SECOND_US, load

from pipeline.batching.batch import JobResult
from pipeline.clock import monotonic_us
from pipeline.lane import LaneCut
from pipeline.slot.ports import TopicPartition
from pipeline.tasks.fusion import FusionTask
from pipeline.tasks.fusion_runner import FusionRunner
from pipeline.tasks.handed_over import HandedOver
from pipeline.tasks.ingest_moves import IngestMoves
from pipeline.tasks.messages import Counts, Cut, Opened, Settled
from pipeline.tasks.owner_figures import OwnerFigures
from pipeline.tasks.totals import Totals

FAR = 10 * SECOND_US
LENGTHS = {"sound": 8, "colour": 24, "words": 8}
PATIENCE_S = 30.0


def opened(window: int, *stages: str) -> Opened:
    start_us = window * SECOND_US
    return Opened(0, window, "s", start_us, start_us + SECOND_US, ("cam",), (), {}, stages)


def gave(window: int, stage: str) -> Settled:
    return Settled(0, window, stage, np.full(LENGTHS[stage], window, np.float32), None, (), ())


def cut(number: int, lane: int = 0, records: int = 0, last: bool = False) -> Cut:
    positions = {"mic": number, "cam": number, "chat": number}
    counts = Counts({"cam": records}, {"cam": 9 * records}, 0, 0, {}, {})
    return Cut(lane, LaneCut(number, positions, positions), counts, last)


def closing(lane: int, first: int = 0, records: int = 2) -> list:
    """Records of which each but the first closes a window."""
    return [raw("in.cam", n, n * FAR, lane=lane) for n in range(first, first + records)]


# -- the ingest half ------------------------------------------------------------------------


def test_a_slot_that_leaves_applies_nothing_more_and_finishes_what_it_closed():
    told = Told(lanes=(0, 1))
    for lane in (0, 1):
        told.fetch(*closing(lane))
        told.ends(lane, mic=0, cam=9, chat=0)
    told.pump()
    gone = told.task.leave_slot(0)
    assert {p.partition for p in gone} == {0}
    assert {p.topic for p in gone} == {"in.mic", "in.cam", "in.chat"}
    told.fetch(*closing(0, 2))  # was on its way
    told.fetch(*closing(1, 2))
    messages = told.pump()
    of_slot = [m for m in messages if m.lane == 0]
    assert kinds(of_slot) == ["Cut"], "one more cut, and no window"
    assert of_slot[0].last
    assert of_slot[0].cut.positions["cam"] == 2
    assert "Opened" in kinds([m for m in messages if m.lane == 1])
    assert told.task.take_left() == {}, "a window is still with an encoder"
    settled = told.encode()
    assert "Settled" in kinds([m for m in settled if m.lane == 0])
    assert told.task.take_left() == {0: {0: of_slot[0].cut.number}}
    assert told.task.take_left() == {}
    assert set(told.task.lanes) == {1}
    assert told.task.in_flight_bytes.keys() == {1}
    told.task.on_committed(0, {0: 1})  # comes late, for nobody
    assert {p.partition for p in told.task.assignment()} == {1}
    assert {lane.lane for lane in told.task.view(0, 0).lanes} == {1}


def test_it_has_left_only_when_its_messages_are_taken_with_the_counts_of_the_last_letters():
    told = Told()
    told.fetch(*closing(0))
    told.ends(mic=0, cam=2, chat=0)
    told.pump()
    told.task.leave_slot(0)
    told.pump()
    [batch] = told.task.take_assignments(0)
    [record] = batch.jobs[0].records
    place = (record.log.topic, record.log.partition, record.log.offset)
    result = JobResult(failure="no", undecodable=((place, "no"),))
    told.task.on_batch(batch.number, [result], 0)
    assert told.task.take_left() == {}, "its last messages were not taken"
    [settled] = told.task.take_deliveries()[0]
    assert len(settled.dead_letters) == 1
    assert told.task.take_left() == {}, "the letter is in no cut's counts yet"
    [last] = told.pump()
    assert last.counts.fates == {("cam", "dead_letter"): 1}
    assert last.last
    assert told.task.take_left() == {0: {0: last.cut.number}}


def test_amid_a_replay_it_leaves_without_a_cut():
    behind = LaneCut(7, {"mic": 0, "cam": 5, "chat": 0}, dict(START))
    told = Told(cut=behind)
    assert told.task.replaying
    told.task.leave_slot(0)
    assert told.pump() == []
    assert told.task.take_left() == {0: {}}


def test_a_slot_that_comes_is_read_from_its_cut_and_one_that_is_here_is_refused():
    told = Told(lanes=(0,))
    came = LaneCut(7, {"mic": 4, "cam": 5, "chat": 6}, {"mic": 1, "cam": 2, "chat": 6})
    assert told.task.take_slot(1, {1: came}) == {
        TopicPartition("in.mic", 1): 1,
        TopicPartition("in.cam", 1): 2,
        TopicPartition("in.chat", 1): 6,
    }
    assert told.task.lanes[1].lane.replaying
    with pytest.raises(ValueError, match="slot 1 is here"):
        told.task.take_slot(1, {1: came})


def test_a_pause_of_a_slot_that_leaves_is_forgotten():
    told = Told()
    told.fetch(raw("in.cam", 0, 0))
    told.pump()
    assert told.task.take_pauses()[0]
    told.task.leave_slot(0)
    assert told.task.take_pauses() == (set(), set()), "the source does not know it any more"
    assert told.task.ends_wanted(0) == []


STEPS = st.lists(st.sampled_from(["fetch", "pump", "encode", "commit"]), min_size=1, max_size=30)


def played(steps: list[str], leave_at: int | None, back_after: int) -> list:
    """What lane 1 tells; slot 0 leaves at one step and is back some later."""
    told, fetched, found, left, cuts = Told(lanes=(0, 1)), 0, [], False, {}
    for place, step in enumerate(steps):
        if place == leave_at:
            told.task.leave_slot(0)
            left = True
        if left and place >= (leave_at or 0) + back_after and 0 not in told.task.in_flight_bytes:
            told.task.take_slot(0, {0: LaneCut(99, {**START, "cam": fetched}, dict(START))})
            left = False
        if step == "fetch":
            told.fetch(*closing(1, fetched))
            if 0 in told.task.lanes and not left:
                told.fetch(*closing(0, fetched))
            fetched += 2
            for lane in set(told.task.lanes) - ({0} if left else set()):
                told.ends(lane, mic=0, cam=fetched, chat=0)
        elif step == "commit":
            told.task.on_committed(1, cuts)
        else:
            messages = told.pump() if step == "pump" else told.encode()
            found += [m for m in messages if m.lane == 1]
            numbers = [m.cut.number for m in messages if isinstance(m, Cut) and m.lane == 1]
            cuts |= dict.fromkeys([1] * len(numbers), max(numbers, default=0))
            if left:
                told.task.take_left()
    return found


@given(STEPS, st.integers(0, 30), st.integers(1, 10))
@settings(max_examples=60, deadline=None)
def test_no_other_slot_sees_that_one_leaves_and_comes_back(steps, leave_at, back_after):
    assert played(steps, leave_at, back_after) == played(steps, None, back_after)


class Source:
    """Notes what is read."""

    def __init__(self) -> None:
        self.read: set[TopicPartition] = set()

    def add(self, positions) -> None:
        self.read |= positions.keys()

    def remove(self, partitions) -> None:
        self.read -= set(partitions)


def test_the_loop_answers_when_a_slot_is_read_and_when_it_has_left_and_ends_without_an_answer():
    told, source, events = Told(), Source(), []
    moves = IngestMoves(source, events.append)
    taken = moves.take(1, {1: LaneCut(0, START, dict(START))})
    assert not taken.done()
    events.pop()(told.task, 0)
    assert taken.done()
    assert {p.partition for p in source.read} == {1}
    left, other = moves.leave(0), moves.leave(1)
    events.pop(0)(told.task, 0)
    moves.look(told.task)
    assert not left.done(), "its last cut is to come"
    told.pump()
    moves.look(told.task)
    assert left.result(0) == {0: 1}
    events.pop(0)(told.task, 0)
    moves.end()
    with pytest.raises(CancelledError):
        other.result(0)


# -- the fusion half ------------------------------------------------------------------------


@pytest.fixture
def task() -> FusionTask:
    return FusionTask(load(LOBBY, {"commit_interval": "250ms"}), LENGTHS, [0, 1])


def test_a_slot_is_let_go_when_its_last_cut_is_committed_and_not_before(task):
    task.on_messages(0, [opened(1, "words"), cut(1), opened(2, "words"), cut(2, last=True)])
    task.on_messages(0, [gave(1, "words")])
    assert task.due(SECOND_US)[0].cuts[0].number == 1
    assert not task.has_left(0, {0: 2})
    task.on_committed(0)
    assert not task.has_left(0, {0: 2})
    with pytest.raises(ValueError, match="not committed"):
        task.let_go(0)
    task.on_messages(0, [gave(2, "words")])
    assert 0 in task.due(SECOND_US + 1), "the last of a slot waits for no interval"
    assert not task.has_left(0, {0: 2}), "its transaction is under way"
    task.on_committed(0)
    assert task.has_left(0, {0: 2})
    assert task.let_go(0)[0].number == 2
    assert task.idle
    assert task.totals.windows == 2
    task.take_slot(0)
    assert task.has_left(0, {}), "nothing of what it had before"
    with pytest.raises(ValueError, match="slot 1 is here"):
        task.take_slot(1)


class Committer:
    retries_total = 3
    failing = None

    def __init__(self) -> None:
        self.cuts: list[int] = []

    def commit(self, cuts, records) -> None:
        self.cuts += [each.number for each in cuts.values()]

    def check_owner(self) -> None: ...


def test_a_running_loop_gives_a_slot_up_and_takes_another_while_the_others_commit(task):
    committers = {slot: Committer() for slot in (0, 1)}
    acknowledged: list[tuple[int, dict[int, int]]] = []
    runner = FusionRunner(
        task, committers, lambda slot, numbers: acknowledged.append((slot, dict(numbers))),
        monotonic_us,
    )  # fmt: skip
    closed, new = threading.Event(), Committer()
    with ThreadPoolExecutor(1) as pool:
        loop = pool.submit(runner.run)
        try:
            runner.deliver({0: [opened(1, "words"), gave(1, "words"), cut(1, last=True)]})
            cuts = runner.leave_slot(0, {0: 1}, closed.set).result(PATIENCE_S)
            assert cuts[0].number == 1
            assert runner.state.totals.windows == 1
            assert runner.state.cuts == {0: 1}
            assert closed.wait(PATIENCE_S)
            runner.take_slot(2, new)
            runner.deliver({2: [cut(5, lane=2, last=True)], 1: [cut(3, lane=1, last=True)]})
            assert runner.leave_slot(2, {2: 5}, closed.set).result(PATIENCE_S)[2].number == 5
            assert runner.leave_slot(1, {1: 3}, closed.set).result(PATIENCE_S)[1].number == 3
            assert runner.state.figures.value("motet_commits_total", "retried") == 9
        finally:
            runner.stop()
            loop.result(PATIENCE_S)
    assert (committers[0].cuts, committers[1].cuts, new.cuts) == ([1], [3], [5])


def test_a_loop_that_ends_answers_nobody(task):
    runner = FusionRunner(task, {0: Committer(), 1: Committer()}, lambda *_: None, monotonic_us)
    with ThreadPoolExecutor(1) as pool:
        loop = pool.submit(runner.run)
        left = runner.leave_slot(0, {0: 1}, lambda: None)
        runner.deliver({1: [cut(3, lane=1, last=True)]})
        assert runner.leave_slot(1, {1: 3}, lambda: None).result(PATIENCE_S)
        runner.stop()
        loop.result(PATIENCE_S)
    with pytest.raises(CancelledError):
        left.result(0)


# -- what is counted ------------------------------------------------------------------------


def test_of_a_lane_that_comes_again_nothing_of_before_is_held():
    handed = HandedOver("out.dead")
    handed.note([cut(5, records=10)])
    handed.begin([0])
    assert handed.held() == {}
    handed.note([cut(9, records=1)])
    [(number, totals)] = handed.held()[0]
    assert (number, totals.records) == (9, {"cam": 1})


def test_an_owner_that_has_gone_is_counted_still():
    one, gone = OwnerFigures(), OwnerFigures()
    one._totals.add(Totals({"mic": 3}, {}, windows=2))
    gone.absorb(one)
    gone.absorb(one)
    assert gone.totals.windows == 4
    one.took({7: 4})
    assert one.seen == {7: 4}
