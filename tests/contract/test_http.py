"""Contract section 6 on a real Kafka: a local run, looked at over HTTP while it runs."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import NamedTuple

import jsonschema
import pytest
from browser import browser
from kafka_user import Sender, await_that, noise
from prometheus_client.parser import text_string_to_metric_families
from shown import Events, ask, monitor_of

from pipeline.connectors.kafka import KafkaConnector
from pipeline.local import run_local
from pipeline.monitor import Monitor
from pipeline.spec import load
from pipeline.tasks.host import RunControl

pytestmark = pytest.mark.kafka

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "state.schema.json"
STREAM = "<img src=x onerror=\"document.title='hacked'\">"
STEP_US = 250_000


class Live(NamedTuple):
    monitor: Monitor
    name: str
    sender: Sender


@pytest.fixture
def live(kafka, user, make_file, prefix):
    """A pipeline that runs in this process, with sound and text that come in time."""
    spec = load(make_file(f"{prefix}-live"))

    def send(step: int, at_us: int) -> None:
        user.send(f"{prefix}.audio", STREAM, noise(step, STEP_US / 1e6), at_us)
        if step % 4 == 1:
            user.send(f"{prefix}.text", STREAM, b"line <b>%d</b>" % step, at_us)

    connector = KafkaConnector(kafka)
    failures: list[BaseException] = []
    with monitor_of(spec, connector) as monitor:
        assert ask(monitor, "/readyz").status == 503
        control = RunControl(show=monitor.show)

        def run() -> None:
            try:
                run_local(spec, connector, control)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run, name="run")
        thread.start()
        await_that("ready", lambda: failures or ask(monitor, "/readyz").status == 200)
        sender = Sender(send, STEP_US)
        sender.start()
        try:
            yield Live(monitor, spec.name, sender)
        finally:
            sender.end()
            control.stop.set()
            thread.join(30)
    assert failures == []
    assert not thread.is_alive()


def samples(monitor: Monitor) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and the values of its labels."""
    families = text_string_to_metric_families(ask(monitor, "/metrics").text)
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_live_run_is_seen_over_http(live, user, tmp_path):
    monitor = live.monitor
    reader = Events(monitor, "/api/results?last=1")
    event = reader.next()
    result = json.loads(event["data"])
    reader.close()
    assert event["id"] == f"{STREAM}/{result['window']['start_us']}"
    assert result["stream"] == STREAM

    # the same as what is committed
    committed = {dict(r.headers)["ce_id"].decode(): r.value for r in
                 user.read(f"{live.name}.results")}  # fmt: skip
    assert committed[event["id"]].decode() == event["data"]

    found = await_that(
        "commits in the metrics",
        lambda: (now := samples(monitor)).get(("motet_windows_total", ()), 0) >= 2 and now,
    )
    assert found["motet_records_total", ("mic",)] >= 8
    assert found["motet_end_to_end_seconds_count", ()] >= 2
    assert found["motet_commits_total", ("committed",)] >= 1
    assert any(name == "motet_consumer_lag_records" for name, _ in found)
    assert any(name == "motet_build_info" for name, _ in found)
    assert not any(STREAM in labels for _, labels in found)

    def steady() -> dict | None:
        """Once four records a second are seen as such."""
        now = json.loads(ask(monitor, "/api/state").content)
        return now if 3 < (now["inputs"][0]["records_per_second"] or 0) < 5 else None

    state = await_that("rates in the state", steady)
    jsonschema.validate(state, json.loads(SCHEMA.read_text()))
    assert (state["name"], state["host"], state["ready"]) == (live.name, "local", True)
    assert state["model"] == result["model"]
    assert {lane["lane"] for lane in state["lanes"]} == set(range(4))
    assert state["streams"] == [STREAM]
    assert state["rates"]["windows_per_second"] > 0
    assert state["latency"]["p50_seconds"] < 10

    with browser(tmp_path / "chromium") as page:
        page.size(1280, 900)
        page.open(monitor.url)
        page.wait_for("[...document.images].some((image) => image.naturalWidth > 0)")
        page.wait_for("document.querySelector('#card .words')?.textContent.startsWith('line <b>')")
        assert page.text("#card h3") == STREAM
        assert "log_mel" in page.text("#columns")
        assert page.value("document.title") == f"{live.name} · motet"
        assert page.complaints == []


def test_the_media_of_a_result_are_found(live):
    reader = Events(live.monitor, "/api/results")
    found = {}
    while not {"mic", "chat"} <= found.keys():
        result = json.loads(reader.next()["data"])
        for name in result["present"]:
            start_us = result["window"]["start_us"]
            query = "stream=%3Cimg%20src%3Dx%20onerror%3D%22document.title%3D%27hacked%27%22%3E"
            answer = ask(live.monitor, f"/api/media?{query}&start_us={start_us}&input={name}")
            assert answer.status == 200, answer.text
            found[name] = answer
    reader.close()
    assert found["mic"].content.startswith(b"\x89PNG")
    assert found["chat"].text.startswith("line <b>")
