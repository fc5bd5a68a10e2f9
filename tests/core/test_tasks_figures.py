"""Figures: what is counted by whom, that they add up, and that nothing is counted twice."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
from pipelines import LOBBY, SECOND_US, load

from pipeline.batching.batch import BatchRun, JobResult, StageJob, together
from pipeline.batching.dispatch import Dispatcher
from pipeline.batching.stage_queue import StageRule
from pipeline.errors import Transient
from pipeline.lane import LaneCut
from pipeline.slot.ports import Fetch, TopicPartition
from pipeline.tasks import ingest_runner
from pipeline.tasks.figures import Figures
from pipeline.tasks.head_watch import HeadWatch
from pipeline.tasks.ingest import IngestTask
from pipeline.tasks.ingest_runner import AWAY_US, REPORT_US, IngestRunner
from pipeline.tasks.metrics import SECONDS
from pipeline.tasks.showing import WARNINGS_MAX, Showing
from pipeline.tasks.totals import Totals


def test_a_histogram_counts_each_value_in_its_bucket():
    figures = Figures()
    for value in (0.0, 0.005, 0.0051, 0.3, 300.0, 301.0):
        figures.observe("motet_commit_seconds", value)
    figures.observe("motet_commit_seconds", 0.2, times=4)
    found = figures.histograms["motet_commit_seconds", ()]
    by_bound = dict(zip((*SECONDS, float("inf")), found.counts, strict=True))
    assert {bound: count for bound, count in by_bound.items() if count} == {
        0.005: 2,
        0.01: 1,
        0.25: 4,
        0.5: 1,
        300.0: 1,
        float("inf"): 1,
    }
    assert found.count == 10
    assert found.total == pytest.approx(602.1101)
    assert 0.1 < found.quantile(0.5) <= 0.25


def test_counters_add_up_over_an_end_and_gauges_die_with_their_process():
    one = Figures()
    one.count("motet_commits_total", 3, "committed")
    one.observe("motet_commit_seconds", 0.2)
    one.gauge("motet_paused_partitions", 5)
    one.gauge("motet_event_time_lag_seconds", 7, "mic")
    two = one.copy()
    two.gauge("motet_event_time_lag_seconds", 9, "mic")
    both = Figures()
    both.add(one)
    both.add(two)
    assert both.value("motet_commits_total", "committed") == 6
    assert both.value("motet_paused_partitions") == 10
    assert both.value("motet_event_time_lag_seconds", "mic") == 9  # the largest of two owners
    after = Figures()
    after.add(one, ended=True)
    after.add(two)
    assert after.value("motet_commits_total", "committed") == 6
    assert after.histograms["motet_commit_seconds", ()].count == 2
    assert after.value("motet_paused_partitions") == 5
    assert one.value("motet_commits_total", "committed") == 3
    crossed = pickle.loads(pickle.dumps(after))
    assert crossed == after


def test_totals_are_counters_of_the_catalogue():
    totals = Totals(
        {"mic": 3}, {"mic": 90}, {("mic", "fused"): 4}, {"cam": 2}, 1, 5, 7, {"future": 2}
    )
    figures = totals.figures()
    assert figures.counters == {
        ("motet_records_total", ("mic",)): 3,
        ("motet_record_bytes_total", ("mic",)): 90,
        ("motet_record_fates_total", ("mic", "fused")): 4,
        ("motet_windows_incomplete_total", ("cam",)): 2,
        ("motet_dead_letters_total", ("future",)): 2,
        ("motet_windows_total", ()): 7,
        ("motet_windows_forced_total", ()): 5,
    }


# -- batches --------------------------------------------------------------------------------


class Heard:
    def __init__(self) -> None:
        self.waited: list[tuple[str, list[int]]] = []
        self.runs: list[tuple[str, int, int]] = []
        self.moves: list[tuple[str, int, int]] = []

    def moved(self, stage, prepare_us, transfer_us) -> None:
        self.moves.append((stage, prepare_us, transfer_us))

    def queued(self, stage, waited_us) -> None:
        self.waited.append((stage, list(waited_us)))

    def ran(self, stage, windows, took_us) -> None:
        self.runs.append((stage, windows, took_us))


def text_job() -> StageJob:
    job = StageJob("s", 0, 1)
    job.upstream["seed"] = 1
    return job


def test_a_dispatcher_tells_how_long_windows_waited_and_batches_took():
    heard = Heard()
    rules = [StageRule("a", (), 4, 99 * SECOND_US), StageRule("b", ("a",), 4, 99 * SECOND_US)]
    dispatcher = Dispatcher(rules, heard)
    for stage in ("a", "b"):
        dispatcher.set_replicas(stage, [f"{stage}-0"])
    dispatcher.submit(1, {"a": text_job(), "b": text_job()}, 100)
    dispatcher.submit(2, {"a": text_job()}, 150)
    [first] = dispatcher.assign(200)
    dispatcher.done(first.number, [JobResult(1), JobResult(2)], 700)
    assert heard.waited == [("a", [100, 50])]
    assert heard.runs == [("a", 2, 500)]
    [second] = dispatcher.assign(1000)
    dispatcher.lost(second.number, "died", 1100)
    assert len(heard.runs) == 1
    [third] = dispatcher.assign(1500)
    run = BatchRun(30, ((5, 60),))  # it waited at the door, and four of other owners ran with it
    dispatcher.done(third.number, [JobResult(1)], 1600, run)
    assert heard.waited[1:] == [("b", [430])]  # since it runs again
    assert heard.runs[1:] == [("b", 5, 60)]


def test_what_a_batch_spent_on_decoding_and_on_the_way_is_told_where_the_replica_says_it():
    heard = Heard()
    dispatcher = Dispatcher([StageRule("a", (), 4, 99 * SECOND_US)], heard)
    dispatcher.set_replicas("a", ["a-0"])
    for window in range(2):
        dispatcher.submit(window, {"a": text_job()}, 0)
        assert dispatcher.queued() == {"a": window + 1}
    [first] = dispatcher.assign(100)
    dispatcher.done(first.number, [JobResult(1), JobResult(2)], 700)
    assert (heard.moves, dispatcher.queued()) == ([], {"a": 0})
    dispatcher.submit(3, {"a": text_job()}, 800)
    [second] = dispatcher.assign(1000)
    parts = [BatchRun(0, ((1, 200),), 0, 30, 350), BatchRun(0, (), 0, 12, 400)]
    dispatcher.done(second.number, [JobResult(1)], 1600, together(parts))
    assert heard.moves == [("a", 42, 200)]  # it was away for 600, and 400 of these at the door


def test_a_replica_is_busy_while_it_has_a_batch():
    dispatcher = Dispatcher([StageRule("a", (), 1, 99 * SECOND_US)])
    dispatcher.set_replicas("a", ["a-0", "a-1"])
    assert dispatcher.busy(50) == {"a": (0, 2)}
    for window in range(3):
        dispatcher.submit(window, {"a": text_job()}, 100)
    first, second, third = dispatcher.assign(100)
    assert first.replica == third.replica != second.replica
    assert dispatcher.busy(150) == {"a": (100, 2)}
    dispatcher.done(second.number, [JobResult(1)], 200)
    dispatcher.set_replicas("a", [first.replica])
    dispatcher.done(first.number, [JobResult(1)], 300)
    assert dispatcher.busy(400) == {"a": (100 + 300, 1)}  # it holds its second one still
    dispatcher.lost(third.number, "died", 500)
    assert dispatcher.busy(900) == {"a": (100 + 400, 1)}


# -- an ingest half -------------------------------------------------------------------------


class Log:
    """A source without records; its ends move, and it may be away."""

    def __init__(self) -> None:
        self.end = 5
        self.asked = 0
        self.away = False
        self.at_ends: Callable[[], None] = lambda: None
        self.at_poll: Callable[[], None] = lambda: None

    def assign(self, positions) -> None: ...

    def close(self) -> None: ...

    def poll(self, timeout_s: float) -> list[Fetch]:
        self.at_poll()
        return []

    def stable_ends(self, partitions) -> dict[TopicPartition, int]:
        self.asked += 1
        self.at_ends()
        if self.away:
            raise Transient("no answer")
        return dict.fromkeys(partitions, self.end)


class Idle:
    def __init__(self, ends=None) -> None:
        self.now_us = 10 * SECOND_US
        start = {"mic": 0, "cam": 3, "chat": 5}
        task = IngestTask(load(LOBBY, {}), {0: {0: LaneCut(0, start, dict(start))}}, ends)
        self.log = Log()
        self.runner = IngestRunner(
            task, self.log, lambda _: None, lambda *_: None, lambda: self.now_us
        )

    def lags(self) -> dict[str, float]:
        gauges = self.runner.view.figures.gauges
        name = "motet_consumer_lag_records"
        return {labels[0]: v for (each, labels), [v] in gauges.items() if each == name}


def test_the_lag_is_right_while_nothing_arrives_and_asked_for_once_a_second():
    idle = Idle()
    assert idle.lags() == {}
    idle.runner.step()
    assert idle.lags() == {"in.mic": 5, "in.cam": 2, "in.chat": 0}
    idle.log.end = 8
    for _ in range(9):
        idle.runner.step()
    assert idle.log.asked == 1
    idle.now_us += REPORT_US
    idle.runner.step()
    assert idle.lags() == {"in.mic": 8, "in.cam": 5, "in.chat": 3}


def test_up_to_the_end_the_log_is_not_asked():
    ends = {TopicPartition(f"in.{name}", 0): 4 for name in ("mic", "cam")}
    idle = Idle({**ends, TopicPartition("in.chat", 0): 5})
    idle.runner.step()
    assert idle.lags() == {"in.mic": 4, "in.cam": 1, "in.chat": 0}
    assert idle.log.asked == 0


def test_a_broker_that_is_away_is_why_it_is_not_ready(monkeypatch):
    monkeypatch.setattr(ingest_runner, "AWAY_S", 0.001)
    idle = Idle()
    asking: list[str | None] = []
    polling: list[str | None] = []

    def at_ends() -> None:
        idle.now_us += AWAY_US + 1
        asking.append(idle.runner.not_ready)

    def at_poll() -> None:
        polling.append(idle.runner.not_ready)
        idle.log.away = len(polling) < 3
        if len(polling) == 4:
            idle.runner.stop()

    idle.log.away, idle.log.at_ends, idle.log.at_poll = True, at_ends, at_poll
    idle.runner.run()
    away = "waiting for the broker (no answer)"
    assert polling == [None, away, away, None]
    assert asking[:3] == ["the broker does not answer", away, away]
    assert idle.runner.view.figures.value("motet_transients_total", "ingest") == 2


def test_a_host_shows_its_newest_warnings_and_what_was_built():
    spec = load(LOBBY, {})
    showing = Showing("local", HeadWatch(spec, {"sound": 8, "colour": 24, "words": 8}))
    showing.warn(f"line {n}" for n in range(15))
    showing.warn(["a", "b"] * 5)
    snapshot = showing.snapshot(Figures(), "starting")
    assert len(snapshot.warnings) == WARNINGS_MAX
    assert snapshot.warnings[0] == "line 5"
    assert snapshot.warnings[-1] == "b"
    [(name, (version, _, model))] = snapshot.figures.gauges
    assert name == "motet_build_info"
    assert version[0].isdigit()
    assert model == f"{spec.name}@sha256:{spec.model_hash()}"
