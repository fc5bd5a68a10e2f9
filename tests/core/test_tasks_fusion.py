"""The fusion half: windows joined, transactions at cuts, and counts committed with them."""

from __future__ import annotations

import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pipelines import LOBBY, SECOND_US, load

from pipeline.clock import wall_us
from pipeline.connectors.limits import batch_bytes
from pipeline.errors import Fenced, Transient
from pipeline.lane import LaneCut
from pipeline.slot.ports import OutRecord
from pipeline.tasks.fusion import FusionTask
from pipeline.tasks.fusion_runner import FAILING_US, FIGURES_US, OWNER_CHECK_US, FusionRunner
from pipeline.tasks.fusion_slot import Slot
from pipeline.tasks.messages import Counts, Cut, Opened, Produced, Settled
from pipeline.tasks.totals import FATES

LENGTHS = {"sound": 8, "colour": 24, "words": 8}
LETTER = OutRecord("out.dead", 0, b"s", b"letter", [])
PATIENCE_S = 30.0


def opened(window: int, *stages: str, lane: int = 0) -> Opened:
    start_us = window * SECOND_US
    return Opened(lane, window, "s", start_us, start_us + SECOND_US, ("cam",), (), {}, stages)


def gave(window: int, stage: str, output=None, lane: int = 0, letters=()) -> Settled:
    if output is None:
        output = np.full(LENGTHS[stage], window, np.float32)
    return Settled(lane, window, stage, output, None, (), tuple(letters))


def failed(window: int, stage: str, failure: str, lane: int = 0) -> Settled:
    return Settled(lane, window, stage, None, failure, (("in.cam", lane, 5),), ())


def cut(number: int, lane: int = 0, records: int = 0, last: bool = False) -> Cut:
    positions = {"mic": number, "cam": number, "chat": number}
    fates = {("cam", "fused"): records}
    counts = Counts({"cam": records}, {"cam": 9 * records}, 1, 2, fates, {"mic": 1})
    return Cut(lane, LaneCut(number, positions, positions), counts, last)


def some(counts: dict) -> dict:
    """Those that there are any of."""
    return {key: count for key, count in counts.items() if count}


@pytest.fixture
def spec():
    return load(LOBBY, {"commit_interval": "250ms"})


@pytest.fixture
def task(spec):
    return FusionTask(spec, LENGTHS, [0, 1])


def values(batch) -> list[dict]:
    return [json.loads(r.value) for r in batch.records if r.topic == "out.results"]


def test_a_window_is_fused_when_each_of_its_stages_is_settled_in_any_order(task):
    task.on_messages(0, [opened(1, "colour", "words"), cut(1)])
    task.on_messages(0, [gave(1, "words")])
    assert task.due(SECOND_US) == {}
    assert not task.idle
    task.on_messages(0, [failed(1, "colour", "ValueError: no")])
    batch = task.due(SECOND_US)[0]
    [result] = values(batch)
    assert result["failed"] == {"colour": "ValueError: no"}
    assert list(result["weights"]) == ["words"]
    [letter] = [r for r in batch.records if r.topic == "out.dead"]
    assert json.loads(letter.value)["records"] == [["in.cam", 0, 5]]
    assert batch.cuts.keys() == {0}


def test_what_a_transaction_holds_ends_at_a_cut(task):
    late = OutRecord("out.late", 0, b"s", b"late", [])
    task.on_messages(
        0,
        [
            opened(1, "colour"),
            Produced(0, late),
            cut(1),
            opened(2, "colour"),
            gave(2, "colour"),
        ],
    )
    assert task.due(SECOND_US) == {}
    task.on_messages(0, [gave(1, "colour", letters=[LETTER])])
    batch = task.due(SECOND_US)[0]
    assert [r.topic for r in batch.records] == ["out.results", "out.dead", "out.late"]
    assert [v["window"]["start_us"] for v in values(batch)] == [SECOND_US]
    assert task.on_committed(0) == {0: 1}
    assert not task.idle
    task.on_messages(0, [cut(2)])
    assert [v["window"]["start_us"] for v in values(task.due(2 * SECOND_US)[0])] == [2 * SECOND_US]
    task.on_committed(0)
    assert task.idle


def test_slots_have_one_transaction_at_a_time_each_and_the_interval_between(task):
    interval_us = 250_000
    task.on_messages(0, [cut(1)])
    task.on_messages(1, [cut(1, lane=1)])
    now_us = 10 * SECOND_US
    assert task.due(now_us).keys() == {0, 1}
    task.on_messages(0, [cut(2)])
    task.on_messages(1, [cut(2, lane=1)])
    assert task.due(now_us + interval_us) == {}  # both are still on their way
    assert task.next_due_us() is None
    task.on_committed(1)
    second_us = task.next_due_us()
    assert now_us < second_us < now_us + interval_us  # at moments of its own
    assert task.due(second_us - 1) == {}
    assert task.due(second_us).keys() == {1}
    task.on_committed(0)
    task.on_committed(1)
    assert task.next_due_us() == now_us + interval_us
    task.on_messages(1, [cut(3, lane=1)])
    assert task.due(now_us + interval_us).keys() == {0}
    assert task.committing(0)
    assert not task.idle
    assert task.next_due_us() == second_us + interval_us


@pytest.mark.parametrize("late_us", [0, 1, 7_000, 249_999])
def test_moments_of_slots_stay_apart_however_late_their_transactions_begin(late_us):
    interval_us = 250_000
    slots = [Slot(number) for number in (0, 4, 8, 12)]  # those of one owner of four
    for slot in slots:
        slot.begun(10 * SECOND_US, interval_us, 1)
    dues = [slot.due_us(interval_us) for slot in slots]
    for slot, due_us in zip(slots, dues, strict=True):
        slot.begun(due_us + late_us, interval_us, 1)
        assert slot.due_us(interval_us) == due_us + interval_us
    moments = sorted(due_us % interval_us for due_us in dues)
    assert min(b - a for a, b in itertools.pairwise(moments)) > interval_us / 20


def test_a_backlogs_transactions_begin_as_soon_as_the_interval_is_over():
    slot = Slot(3)
    slot.begun(10 * SECOND_US, 250_000, 10_000)
    assert slot.due_us(250_000) == 10 * SECOND_US + 250_000


def test_output_does_not_wait_for_the_interval_of_mere_offsets(task):
    interval_us = 250_000
    now_us = 10 * SECOND_US
    task.on_messages(0, [opened(1, "colour"), cut(1), gave(1, "colour")])
    assert task.due(now_us)[0].records
    task.on_committed(0)
    task.on_messages(0, [cut(2), opened(2, "colour"), cut(3)])
    now_us += interval_us
    assert task.due(now_us)[0].records == []
    task.on_committed(0)
    task.on_messages(0, [gave(2, "colour")])
    assert task.next_due_us() <= now_us + 1
    assert task.due(now_us + 1)[0].records
    task.on_committed(0)
    task.on_messages(0, [opened(3, "colour"), cut(4), gave(3, "colour")])
    assert task.next_due_us() == now_us + interval_us  # but for that of other output
    assert task.due(now_us + interval_us - 1) == {}


def test_the_last_of_a_lane_does_not_wait_for_the_interval(task):
    now_us = 10 * SECOND_US
    task.on_messages(0, [cut(1), cut(1, lane=2)])
    assert task.due(now_us).keys() == {0}
    task.on_committed(0)
    task.on_messages(0, [opened(1, "colour"), cut(2, last=True)])
    assert task.due(now_us + 1) == {}  # its window is not fused yet
    task.on_messages(0, [gave(1, "colour")])
    assert task.next_due_us() <= now_us + 1
    batch = task.due(now_us + 1)[0]
    assert (batch.cuts[0].number, len(values(batch))) == (2, 1)
    task.on_committed(0)
    task.on_messages(0, [opened(1, "colour", lane=2), cut(2, lane=2), gave(1, "colour", lane=2)])
    assert task.due(now_us + 2) == {}  # the slot's other lane goes on as before
    task.on_messages(0, [cut(3, lane=2, last=True)])
    assert task.due(now_us + 2)[0].cuts.keys() == {2}


def test_counts_are_added_where_their_cut_is_committed(task):
    task.on_messages(0, [cut(1, records=3), opened(1, "colour"), cut(2, records=4)])
    assert task.due(SECOND_US)[0].cuts[0].number == 1
    assert task.totals.records == {"mic": 0, "cam": 0, "chat": 0}
    task.on_committed(0)
    assert some(task.totals.records) == {"cam": 3}
    assert (task.totals.late, task.totals.forced, task.totals.windows) == (1, 2, 0)
    task.on_messages(0, [gave(1, "colour", letters=[LETTER]), cut(3, records=5)])
    task.due(2 * SECOND_US)
    assert some(task.totals.records) == {"cam": 3}
    task.on_committed(0)
    assert some(task.totals.records) == {"cam": 12}
    assert some(task.totals.record_bytes) == {"cam": 108}
    assert some(task.totals.fates) == {("cam", "fused"): 12}
    assert some(task.totals.incomplete) == {"mic": 3}
    assert (task.totals.windows, task.totals.dead_letter, task.totals.late) == (1, 1, 3)


def test_an_output_that_its_topic_would_refuse_has_failed_and_stops_nothing():
    changes = {
        "stages.echo": {"encoder": "user:Text", "of": "chat", "out": "out.echo"},
        "stages.data": {"encoder": "user:Data", "of": "chat", "out": "out.data"},
        "stages.more": {"encoder": "user:Text", "of": "echo", "out": "out.more"},
    }
    limits = {"out.results": 12_000, "out.echo": 9_000, "out.data": 12_000, "out.dead": 2_000}
    task = FusionTask(load(LOBBY, changes), LENGTHS, [0], limits)
    stages = ("colour", "echo", "data", "more")
    task.on_messages(
        0,
        [
            opened(1, *stages),
            gave(1, "colour"),
            gave(1, "echo", "e" * 10_000),  # too large for its own topic
            gave(1, "data", {"d": "x" * 7_000}),  # and these two for the result together
            gave(1, "more", "m" * 6_000),
            opened(2, "echo"),
            gave(2, "echo", "e" * 8_000),
            cut(1),
        ],
    )
    batch = task.due(SECOND_US)[0]
    first, second = values(batch)
    why = "its output is over max.message.bytes of {}; raise it, or give less"
    assert first["failed"] == {"data": why.format("out.results"), "echo": why.format("out.echo")}
    assert first["text"] == {"more": "m" * 6_000}
    assert first["data"] == {}
    assert list(first["weights"]) == ["colour"]
    assert second["failed"] == {}
    assert second["text"] == {"echo": "e" * 8_000}
    assert all(batch_bytes(r) <= limits.get(r.topic, 99_999) for r in batch.records)
    letters = [json.loads(r.value) for r in batch.records if r.topic == "out.dead"]
    assert sorted(v["stage"] for v in letters) == ["data", "echo"]
    own = [r.topic for r in batch.records if r.topic not in ("out.results", "out.dead")]
    assert own == ["out.data", "out.more", "out.echo"]


# -- its loop -------------------------------------------------------------------------------


class Committer:
    """Notes what it is asked to commit; each call waits for its turn, and may raise."""

    def __init__(self) -> None:
        self.batches: list[tuple[dict, list]] = []
        self.entered = threading.Semaphore(0)
        self.turn = threading.Semaphore(0)
        self.error: Exception | None = None
        self.checks = 0
        self.retries_total = 0
        self.failing: str | None = None

    def commit(self, cuts, records) -> None:
        self.entered.release()
        assert self.turn.acquire(timeout=PATIENCE_S)
        if self.error is not None:
            raise self.error
        self.batches.append((cuts, records))

    def check_owner(self) -> None:
        self.checks += 1
        self.entered.release()
        if self.error is not None:
            raise self.error


class Loop:
    """A runner in its thread, on a clock that the test moves; ``round`` tells when it is read."""

    def __init__(self, task) -> None:
        self.round = threading.Condition()
        self.now_us = 10 * SECOND_US
        self.committers = {0: Committer(), 1: Committer()}
        self.acknowledged: list[tuple[int, dict]] = []
        self.told = threading.Semaphore(0)

        def acknowledge(slot, numbers) -> None:
            self.acknowledged.append((slot, dict(numbers)))
            self.told.release()

        self.runner = FusionRunner(task, self.committers, acknowledge, self._now)
        self.pool = ThreadPoolExecutor(1)
        self.ended = self.pool.submit(self.runner.run)

    def _now(self) -> int:
        with self.round:
            self.round.notify_all()
        return self.now_us

    def eventually(self, holds) -> None:
        """Looks each time that the loop comes round."""
        with self.round:
            assert self.round.wait_for(holds, PATIENCE_S)

    def close(self) -> None:
        self.runner.stop()
        for committer in self.committers.values():
            for _ in range(9):
                committer.turn.release()
        self.pool.shutdown()


@pytest.fixture
def loop(task):
    loop = Loop(task)
    yield loop
    loop.close()


def test_it_is_idle_only_when_all_that_it_took_is_committed(loop):
    runner, committer = loop.runner, loop.committers[0]
    loop.eventually(lambda: runner.state.idle)
    runner.deliver({0: [opened(1, "colour"), gave(1, "colour"), cut(1, records=3)]})
    assert committer.entered.acquire(timeout=PATIENCE_S)
    loop.eventually(lambda: runner.state.taken == 1)
    assert not runner.state.idle
    assert runner.state.totals.windows == 0
    assert loop.acknowledged == []
    committer.turn.release()
    assert loop.told.acquire(timeout=PATIENCE_S)
    loop.eventually(lambda: runner.state.idle)
    assert runner.state.taken == 1
    assert runner.state.totals.windows == 1
    assert loop.acknowledged == [(0, {0: 1})]
    [(cuts, records)] = committer.batches
    assert cuts[0].number == 1
    assert [r.topic for r in records] == ["out.results"]


def test_cuts_without_output_are_committed_too(loop):
    committer = loop.committers[0]
    committer.turn.release()
    loop.runner.deliver({0: [cut(1, records=3)]})
    assert loop.told.acquire(timeout=PATIENCE_S)
    loop.eventually(lambda: loop.runner.state.idle)
    [(cuts, records)] = committer.batches
    assert (cuts[0].number, records) == (1, [])
    state = loop.runner.state
    assert (some(state.totals.records), state.totals.windows, state.cuts) == ({"cam": 3}, 0, {0: 1})
    assert state.figures.value("motet_commits_total", "committed") == 1


def test_slots_commit_side_by_side(loop):
    loop.runner.deliver({0: [cut(1)]})
    loop.runner.deliver({1: [cut(1, lane=1)]})
    for committer in loop.committers.values():
        assert committer.entered.acquire(timeout=PATIENCE_S)  # both are in it at once
    loop.committers[1].turn.release()
    assert loop.told.acquire(timeout=PATIENCE_S)
    assert loop.acknowledged == [(1, {1: 1})]


def test_what_a_commit_raises_ends_the_loop(loop):
    committer = loop.committers[0]
    committer.error = Fenced("taken over")
    loop.runner.deliver({0: [cut(1)]})
    committer.turn.release()
    with pytest.raises(Fenced, match="taken over"):
        loop.ended.result(PATIENCE_S)


def test_a_commit_that_is_tried_for_long_tells_why(loop):
    runner, committer = loop.runner, loop.committers[0]
    runner.deliver({0: [cut(1)]})
    assert committer.entered.acquire(timeout=PATIENCE_S)
    committer.failing = "NotEnoughReplicas"
    loop.now_us += FAILING_US - 1
    loop.eventually(lambda: runner.stepped_us == loop.now_us)
    assert runner.state.not_ready is None
    loop.now_us += SECOND_US
    told = "slot 0 has tried to commit for 3 s: NotEnoughReplicas"
    loop.eventually(lambda: runner.state.not_ready == told)
    committer.failing = None
    committer.turn.release()
    loop.eventually(lambda: runner.state.not_ready is None)


def test_an_idle_owner_asks_now_and_then_who_owns_its_slots(loop):
    committer = loop.committers[0]
    loop.now_us += OWNER_CHECK_US
    assert committer.entered.acquire(timeout=PATIENCE_S)
    committer.error = Transient("away")  # ends nothing
    loop.now_us += OWNER_CHECK_US
    assert committer.entered.acquire(timeout=PATIENCE_S)
    loop.now_us += FIGURES_US

    def transients() -> float:
        return loop.runner.state.figures.value("motet_transients_total", "fusion")

    loop.eventually(lambda: transients() == 1)
    committer.error = Fenced("taken over")
    loop.now_us += OWNER_CHECK_US
    with pytest.raises(Fenced, match="taken over"):
        loop.ended.result(PATIENCE_S)
    assert committer.checks == 3


def test_a_transaction_has_its_figures(loop):
    figures = lambda: loop.runner.state.figures  # noqa: E731
    now_us = wall_us()
    window = opened(1, "colour")
    shown = [window._replace(append_us=now_us - 20 * SECOND_US), opened(2, "colour")]
    loop.runner.deliver({0: [*shown, gave(1, "colour"), gave(2, "colour"), cut(1)]})
    committer = loop.committers[0]
    assert committer.entered.acquire(timeout=PATIENCE_S)
    committer.retries_total = 3
    loop.now_us += 2 * SECOND_US
    committer.turn.release()
    loop.eventually(lambda: figures().value("motet_commits_total", "committed") == 1)
    assert figures().value("motet_commits_total", "retried") == 3
    commit = figures().histograms["motet_commit_seconds", ()]
    assert (commit.count, commit.total) == (1, 2.0)
    whole = figures().histograms["motet_end_to_end_seconds", ()]
    assert whole.count == 1  # of the other window no record said when it closed
    assert 20 <= whole.total < 20 + PATIENCE_S


def test_what_will_be_counted_stands_at_0_from_the_start(task):
    """An alert on growth would miss the first of each otherwise."""
    counters = task.totals.figures().counters
    assert set(counters.values()) == {0}
    for name in ("mic", "cam", "chat"):
        assert counters.keys() >= {
            ("motet_records_total", (name,)),
            ("motet_record_bytes_total", (name,)),
            ("motet_windows_incomplete_total", (name,)),
            *(("motet_record_fates_total", (name, fate)) for fate in FATES),
        }
    assert ("motet_dead_letters_total", ("undecodable",)) in counters
    assert ("motet_dead_letters_total", ("late",)) not in counters  # that has a topic of its own
    assert {name for name, _ in task.figures.histograms} >= {
        "motet_commit_seconds",
        "motet_end_to_end_seconds",
    }


def test_a_transaction_that_is_under_way_when_it_is_stopped_is_counted(loop):
    loop.runner.deliver({0: [opened(1, "colour"), gave(1, "colour"), cut(1, records=3)]})
    assert loop.committers[0].entered.acquire(timeout=PATIENCE_S)
    loop.runner.stop()
    loop.committers[0].turn.release()
    loop.ended.result(PATIENCE_S)
    state = loop.runner.state
    assert (state.totals.windows, some(state.totals.records), state.cuts) == (1, {"cam": 3}, {0: 1})
    assert state.figures.value("motet_commits_total", "committed") == 1
    assert state.idle
