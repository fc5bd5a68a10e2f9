"""What a run in one process shows of itself, against what it says that it did."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from kafka_user import await_that
from pipelines import LOBBY, SECOND_US, broker_for, connector_for, jpeg, load, sent, tone

from pipeline.clock import wall_us
from pipeline.local import run_local
from pipeline.monitor.sampler import Sampler
from pipeline.monitor.state import StateWriter
from pipeline.tasks.host import RunControl, summary
from pipeline.tasks.metrics import METRICS
from pipeline.tasks.view import Snapshot, View

PATIENCE_S = 30.0


def produced(spec, seconds=6):
    broker = broker_for(spec)
    for number in range(seconds):
        broker.append(sent("in.mic", tone(440, 1.0), number * SECOND_US))
        if number % 2:
            broker.append(sent("in.cam", jpeg((255, 0, 0)), number * SECOND_US))
    broker.append(sent("in.cam", jpeg((255, 0, 0)), 0, append_us=seconds * SECOND_US))  # late
    broker.append(sent("in.cam", b"no jpeg", 0, append_us=seconds * SECOND_US))
    broker.append(sent("in.chat", b"good day", 100))
    return broker


def test_a_snapshot_says_what_the_summary_says():
    spec = load(LOBBY, {"windows.idle": "0ms", "limits.dead_letter_rate": "100%"})
    views: list[View] = []
    before: list[Snapshot] = []

    def show(view: View) -> None:
        views.append(view)
        before.append(view.snapshot())

    control = RunControl(until_end=True, show=show)
    totals, seconds = run_local(spec, connector_for(produced(spec)), control)
    said = summary(totals, seconds)
    assert [(s.host, s.not_ready, s.lanes) for s in before] == [("local", "starting", ())]
    [view] = views
    snapshot = view.snapshot()
    figures = snapshot.figures
    value = figures.value
    assert snapshot.not_ready is None
    assert value("motet_windows_total") == said["windows"] == 6
    assert sum(value("motet_records_total", name) for name in spec.inputs) == said["records"] == 12
    assert value("motet_record_bytes_total", "chat") == 8
    assert value("motet_record_fates_total", "cam", "dead_letter") == said["dead_letter"] == 1
    assert value("motet_record_fates_total", "cam", "late") == said["late"] == 1
    assert value("motet_dead_letters_total", "undecodable") == 1
    assert value("motet_windows_incomplete_total", "cam") == 3
    assert value("motet_windows_incomplete_total", "chat") == 5
    for stage, windows in {"sound": 6, "colour": 3, "words": 1}.items():
        sizes = figures.histograms["motet_stage_batch_size", (stage,)]
        waits = figures.histograms["motet_stage_queue_seconds", (stage,)]
        took = figures.histograms["motet_stage_compute_seconds", (stage,)]
        assert (sizes.total, waits.count, took.count) == (windows, windows, sizes.count)
        assert 0 < value("motet_stage_prepare_seconds_total", stage) <= took.total
        assert value("motet_stage_transfer_seconds_total", stage) > 0
        assert value("motet_stage_queue_windows", stage) == 0
    commits = value("motet_commits_total", "committed")
    assert figures.histograms["motet_commit_seconds", ()].count == commits >= 1
    assert 0 < figures.histograms["motet_end_to_end_seconds", ()].count <= 6
    assert sorted((r.stage, r.name) for r in snapshot.replicas) == [
        (stage, f"{stage}-0") for stage in ("colour", "sound", "words")
    ]
    assert {r.device for r in snapshot.replicas} <= {"cpu", "cuda"}
    lane = snapshot.lanes[0]
    assert lane.positions == lane.ends == {"mic": 6, "cam": 5, "chat": 1}
    shown = [*figures.counters, *figures.gauges, *figures.histograms]
    for name, labels in shown:
        assert len(labels) == len(METRICS[name].labels), name
    # no actors, and no head
    never = {"motet_actor_restarts_total", "motet_stage_replicas", "motet_feature_drift"}
    never |= {"motet_draining_nodes", "motet_actor_moves_total"}
    never |= {"motet_slot_moves_total", "motet_slot_move_pause_seconds"}
    never |= {name for name in METRICS if name.startswith("motet_live_")}  # the monitor's
    assert {name for name, _ in shown} == METRICS.keys() - never


def test_a_live_run_shows_how_it_stands_while_it_runs():
    spec = load(LOBBY, {})
    broker = produced(spec)
    shown = threading.Event()
    views: list[View] = []

    def show(view: View) -> None:
        views.append(view)
        shown.set()

    control = RunControl(show=show)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(run_local, spec, connector_for(broker), control)
        assert shown.wait(PATIENCE_S)
        assert control.ready.wait(PATIENCE_S)
        try:
            snapshot = until(views[0], lambda s: all(lane.open_windows for lane in s.lanes[:1]))
            assert snapshot.not_ready is None
            assert snapshot.lanes[0].waiting.startswith("waiting for ")
            assert snapshot.figures.value("motet_open_bytes", "0") > 0
            broker.append(sent("in.cam", b"", 0, append_us=8 * SECOND_US))
            snapshot = until(views[0], lambda s: s.lanes[0].positions["cam"] == 6)
            snapshot = until(views[0], lambda s: s.lanes[0].ends["cam"] == 6)
            assert snapshot.figures.value("motet_consumer_lag_records", "in.cam", "0") == 0
        finally:
            control.stop.set()
        run.result(PATIENCE_S)


def until(view: View, holds) -> Snapshot:
    """Looks until it holds, or for as long as the patience lasts."""
    pause, deadline_us = threading.Event(), wall_us() + PATIENCE_S * 1e6
    while True:
        snapshot = view.snapshot()
        if snapshot.lanes and holds(snapshot):
            return snapshot
        assert wall_us() < deadline_us
        pause.wait(0.01)


def test_a_run_that_waits_for_a_silent_input_says_which_and_what_lets_it_go():
    spec = load(LOBBY, {"windows.idle": "20s"})
    broker = broker_for(spec)
    broker.append(sent("in.mic", tone(440, 0.5), 0))
    for half in range(25):  # half of idle, and more
        broker.append(sent("in.cam", jpeg((255, 0, 0)), half * SECOND_US // 2))
    writer, sampler = StateWriter(spec), Sampler()
    control = RunControl(show=sampler.show)
    with ThreadPoolExecutor(1) as threads:
        run = threads.submit(run_local, spec, connector_for(broker), control)
        try:

            def held() -> dict | None:
                assert not run.done(), run.result()
                answers = writer.state(sampler.recent(), [])["answers"]
                return answers if answers["window"]["cause"] == "held" else None

            answers = await_that("the answer", held)
        finally:
            control.stop.set()
            sampler.close()
        run.result(60)
    words = answers["window"]["words"]
    assert answers["window"]["at"] == {"kind": "lane", "name": "0"}
    assert "the window from 1970-01-01T00:00:00.000Z of s waits for mic" in words
    assert "its newest record there ends at 1970-01-01T00:00:00.500Z" in words
    assert "a record of mic that ends at 1970-01-01T00:00:01.200Z or later" in words
    assert answers["verdict"]["level"] == "look"
    assert answers["verdict"]["words"].startswith("mic of s is silent")
