"""What a run in one process shows of itself, against what it says that it did."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from pipelines import LOBBY, SECOND_US, broker_for, connector_for, jpeg, load, sent, tone

from pipeline.clock import wall_us
from pipeline.local import run_local
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
    assert value("motet_windows_incomplete_total", "cam") == 3
    assert value("motet_windows_incomplete_total", "chat") == 5
    for stage, windows in {"sound": 6, "colour": 3, "words": 1}.items():
        sizes = figures.histograms["motet_stage_batch_size", (stage,)]
        waits = figures.histograms["motet_stage_queue_seconds", (stage,)]
        took = figures.histograms["motet_stage_compute_seconds", (stage,)]
        assert (sizes.total, waits.count, took.count) == (windows, windows, sizes.count)
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
    never = {"motet_actor_restarts_total", "motet_feature_drift"}  # no actors, and no head
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
