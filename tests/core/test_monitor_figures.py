"""Figures as Prometheus text and as ``/api/state``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from pipelines import LOBBY, load
from prometheus_client.parser import text_string_to_metric_families
from shown import STARTED_US, Shown, figures, snapshot

from pipeline.monitor.exposition import exposition
from pipeline.monitor.sampler import Recent, Sample, Sampler
from pipeline.monitor.state import StateWriter
from pipeline.tasks.figures import Figures
from pipeline.tasks.metrics import GROUPS, METRICS
from pipeline.tasks.metrics_page import metrics_page

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "schemas" / "state.schema.json").read_text("utf-8")
)
HOSTILE = 'a"b\\c\nd{}'


def parsed(figures: Figures) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of the text by name and labels; none twice."""
    found = {}
    for family in text_string_to_metric_families(exposition(figures).decode()):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def whole() -> Figures:
    """A value for every metric of the catalogue."""
    made = Figures()
    for name, metric in METRICS.items():
        labels = [f"{label}-1" for label in metric.labels]
        if metric.kind == "counter":
            made.count(name, 2, *labels)
        elif metric.kind == "gauge":
            made.gauge(name, 2, *labels)
        else:
            made.observe(name, 2, *labels)
    return made


@pytest.mark.parametrize("figures", [whole(), Figures()], ids=["counted", "at the start"])
def test_every_metric_of_the_catalogue_has_its_type_and_its_help(figures):
    families = {
        family.name: family
        for family in text_string_to_metric_families(exposition(figures).decode())
    }
    assert set(families) == {name.removesuffix("_total") for name in METRICS}
    for name, metric in METRICS.items():
        family = families[name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        assert all({*sample.labels} - {"le"} == {*metric.labels} for sample in family.samples)


def test_the_text_gives_back_the_numbers():
    found = parsed(figures())
    assert found["motet_records_total", (("input", "mic"),)] == 7
    assert found["motet_record_fates_total", (("fate", "late"), ("input", "mic"))] == 2
    assert found["motet_windows_total", ()] == 3
    assert found["motet_clock_seconds", (("input", "mic"), ("slot", "0"))] == 1_790_000_004.2
    buckets = {
        dict(labels)["le"]: value
        for (name, labels), value in found.items()
        if name == "motet_end_to_end_seconds_bucket"
    }
    assert (buckets["0.1"], buckets["0.25"], buckets["300.0"], buckets["+Inf"]) == (0, 9, 9, 10)
    assert found["motet_end_to_end_seconds_count", ()] == 10
    assert found["motet_end_to_end_seconds_sum", ()] == pytest.approx(401.8)


def test_labels_are_escaped():
    made = Figures()
    made.count("motet_records_total", 1, HOSTILE)
    made.observe("motet_stage_batch_size", 1, HOSTILE)
    found = parsed(made)
    assert found["motet_records_total", (("input", HOSTILE),)] == 1
    assert found["motet_stage_batch_size_count", (("stage", HOSTILE),)] == 1


def test_gauges_of_several_owners_are_put_together():
    made, other = figures(), figures()
    other.gauge("motet_event_time_lag_seconds", 9.0, "mic")
    made.add(other)
    found = parsed(made)
    assert found["motet_event_time_lag_seconds", (("input", "mic"),)] == 9.0
    assert found["motet_in_flight_bytes", (("slot", "1"),)] == 1000
    assert found["motet_stage_busy_ratio", (("stage", "sound"),)] == 0.75  # either has work


# -- /api/state -----------------------------------------------------------------------------


def recent(now: Figures, before: Figures, span_us: int) -> Recent:
    samples = [Sample(at, snapshot(figures=made)) for at, made in ((span_us, now), (0, before))]
    return Recent(samples[0], samples[1], samples[1])


def state_of(recent: Recent | None, **changes) -> dict:
    written = StateWriter(load(LOBBY, changes)).state(recent, ["cam-1"])
    found = json.loads(json.dumps(written))
    jsonschema.validate(found, SCHEMA)
    return found


def test_before_the_run_shows_itself_the_file_is_there():
    state = state_of(None)
    assert (state["ready"], state["not_ready"], state["host"]) == (False, "starting", None)
    assert [one["name"] for one in state["inputs"]] == ["mic", "cam", "chat"]
    assert state["rates"]["records_per_second"] is None
    assert state["lanes"] == state["slots"] == []


def test_the_state_says_what_the_run_does():
    now = figures()
    now.count("motet_records_total", 20, "mic")
    now.observe("motet_stage_batch_size", 4, "sound", times=5)
    state = state_of(recent(now, figures(), 4_000_000))
    mic, sound = state["inputs"][0], state["stages"][0]
    assert (mic["records"], mic["records_per_second"], mic["lag_records"]) == (27, 5.0, 3)
    assert (mic["clock_seconds"], mic["event_time_lag_seconds"]) == (1_790_000_002.2, 1.25)
    assert mic["fates"] == {"fused": 5, "late": 2, "dead_letter": 0}
    assert state["inputs"][2]["lag_records"] is None
    assert (sound["batch_size"], sound["windows_per_second"]) == (4.0, 5.0)
    assert sound["replicas"] == [{"name": "sound-0", "device": "cuda:0", "gpus": ["GPU-1"]}]
    assert (sound["of"], sound["weight"], sound["busy_ratio"]) == (["mic"], 1.0, 0.5)
    assert state["totals"]["windows"] == 3
    assert state["totals"]["fates"]["late"] == 2
    assert state["restarts"] == [{"role": "encoder", "cause": "died", "count": 1}]
    assert [slot["slot"] for slot in state["slots"]] == [0, 1]
    assert state["slots"][1]["in_flight_bytes"] == 500
    assert [lane["waiting"] for lane in state["lanes"]] == [None, "chat: behind"]
    assert state["lanes"][0]["lag_records"] == 3
    assert state["started"].startswith("2026-09-")
    assert state["streams"] == ["cam-1"]


def test_quantiles_are_those_of_the_last_minute_alone():
    now = figures()
    now.observe("motet_end_to_end_seconds", 2.0, times=5)
    old = state_of(recent(now, Figures(), 4_000_000))["latency"]
    new = state_of(recent(now, figures(), 4_000_000))["latency"]
    assert old["p50_seconds"] < 0.25  # nine of all fifteen
    assert 1.0 <= new["p50_seconds"] <= new["p99_seconds"] <= 2.5
    quiet = state_of(recent(now, now, 4_000_000))["latency"]
    assert quiet == {"p50_seconds": None, "p99_seconds": None}


def test_outputs_of_stages_have_their_topics():
    state = state_of(recent(figures(), figures(), 1_000_000), **{"stages.words.out": "out.words"})
    assert state["outputs"][-1] == {"role": "words", "topic": "out.words", "per_second": None}


def test_the_sampler_measures_from_some_seconds_ago_and_begins_anew_with_another_run(monkeypatch):
    now_us = [0]
    monkeypatch.setattr("pipeline.clock.monotonic_us", lambda: now_us[0])
    sampler, view = Sampler(), Shown()
    assert sampler.recent() is None
    sampler._view = view  # no thread: the test is the clock
    for second in range(100):
        now_us[0] = second * 1_000_000
        made = Figures()
        made.count("motet_windows_total", second * second)
        view.now = snapshot(figures=made)
        sampler._sample()
    found = sampler.recent()
    assert found is not None
    assert found.seconds_ago.at_us == 94_000_000
    assert found.minute_ago.at_us == 39_000_000
    assert found.rate("motet_windows_total") == (99**2 - 94**2) / 5
    assert len(sampler._samples) <= 64
    sampler.show(Shown(replace(snapshot(), started_us=STARTED_US + 1)))
    try:
        assert sampler.recent().rate("motet_windows_total") == 0
    finally:
        sampler.close()


def test_every_metric_is_declared_with_all_that_a_person_wants_to_know():
    assert sum(map(len, GROUPS.values())) == len(METRICS)  # none in two groups
    for name, metric in METRICS.items():
        assert name.startswith("motet_")
        assert name.endswith("_total") == (metric.kind == "counter"), name
        assert bool(metric.buckets) == (metric.kind == "histogram"), name
        for words in (metric.help, metric.act):
            assert words.endswith((".", "?")), name
            assert "\n" not in words
        assert metric.unit
        last = name.removesuffix("_total").rpartition("_")[2]
        if last in ("seconds", "bytes", "records", "windows", "ratio"):
            assert metric.unit.startswith(last), name
        assert not {"stream", "class", "label"} & set(metric.labels), name


def test_the_page_of_metrics_is_that_of_the_catalogue():
    page = Path(__file__).parents[2] / "docs" / "METRICS.md"
    assert page.read_text("utf-8") == metrics_page(), "docs/METRICS.md is stale: make metrics"
