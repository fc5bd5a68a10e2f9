"""Contract section 6 on a real Ray and a real Kafka, while a run's actors are killed one by one.

What is looked at from outside must hold for the run as a whole: figures are those of all actors
together, those that ended included, and a reader of results sees each of them once.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import jsonschema
import pytest
from kafka_user import PARTITIONS, KafkaUser, Sender, await_that, noise
from onlookers import Listener, Looker, Series, scraped, total
from shown import PROMISED_METRICS, ask, monitor_of

from actors.supervisor import Supervisor, run_on_ray
from pipeline.connectors.kafka import KafkaConnector
from pipeline.monitor import Monitor
from pipeline.spec import PipelineSpec, loads
from pipeline.tasks.host import RunControl
from pipeline.tasks.metrics import METRICS

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(300)]

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "schemas" / "state.schema.json").read_text()
)
STREAMS = ("s0", "s1", "s2")  # lanes of both slots
STEP_US = 250_000
# By the name of a sample, where that is another one.
METRIC_OF = {
    f"{name}{end}": name
    for name, metric in METRICS.items()
    if metric.kind == "histogram"
    for end in ("_bucket", "_sum", "_count")
}

PIPELINE = """
version: 1
name: {name}
kafka: {{bootstrap: "{bootstrap}"}}
inputs:
  mic: {{topic: {name}.audio, type: "audio/L16;rate=16000;channels=1"}}
  chat: {{topic: {name}.text, type: text/plain, gating: false}}
windows: {{size: 1s}}
slots: 2
commit_interval: 50ms
stages:
  sound: {{encoder: log_mel, of: mic, options: {{n_mels: 8}}, num_gpus: 0}}
  words: {{encoder: hash_text, of: chat, options: {{dim: 4}}, num_gpus: 0}}
fusion: {{rule: concat, of: {{sound: 1, words: 1}}}}
outputs: {{results: {name}.results, late: {name}.late, dead_letter: {name}.dead}}
"""


class Live(NamedTuple):
    spec: PipelineSpec
    monitor: Monitor
    user: KafkaUser
    sender: Sender
    supervisor: Supervisor
    looker: Looker
    listener: Listener


@pytest.fixture
def live(kafka: str, ray_address: str) -> Iterator[Live]:
    """A pipeline on Ray with sound and text that come in time; whatever fails in it is raised."""
    name = f"http{uuid.uuid4().hex[:8]}"
    spec = loads(PIPELINE.format(name=name, bootstrap=kafka), folder=Path())
    connector = KafkaConnector(kafka)
    with closing(connector.control()) as control:
        for topic in (*(given.topic for given in spec.inputs.values()), *spec.topics_out()):
            control.create_topic(topic, PARTITIONS, 1, {})
    with closing(KafkaUser(kafka)) as user, monitor_of(spec, connector) as monitor:
        # nothing is shown before the run shows itself
        assert (ask(monitor, "/readyz").status, ask(monitor, "/healthz").status) == (503, 200)
        assert {name for name, _ in scraped(monitor)} == {"motet_build_info"}
        listener = Listener(monitor, STREAMS[0])
        held: list[Supervisor] = []
        failures: list[BaseException] = []
        steering = RunControl(show=monitor.show)

        def work() -> None:
            try:
                run_on_ray(spec, connector, steering, held.append)
            except BaseException as error:
                failures.append(error)

        def send(step: int, at_us: int) -> None:
            for stream in STREAMS:
                user.send(f"{name}.audio", stream, noise(step, STEP_US / 1e6), at_us)
                if step % 8 == 0:  # so every second window has none
                    user.send(f"{name}.text", stream, b"line %d" % step, at_us)

        looker, run = Looker(monitor), threading.Thread(target=work, name="run")
        for thread in (looker, listener, run):
            thread.start()
        # The run shows itself ready a moment before it hands its supervisor over.
        ready = lambda: held and ask(monitor, "/readyz").status == 200  # noqa: E731
        await_that("ready", lambda: failures or ready(), 150)
        assert failures == []
        sender = Sender(send, STEP_US)
        sender.start()
        try:
            yield Live(spec, monitor, user, sender, held[0], looker, listener)
        finally:
            if sender.is_alive():
                sender.end()
            steering.stop.set()
            run.join(60)
            looker.end()
    listener.join(20)
    assert not listener.is_alive(), "its connection was not closed with the run"
    assert failures == []
    assert not run.is_alive()


def state_of(monitor: Monitor) -> dict:
    state = json.loads(ask(monitor, "/api/state").content)
    jsonschema.validate(state, SCHEMA)
    return state


def kill(live: Live, role: str) -> None:
    """Kills an actor, and returns once its successor is at work and something was committed."""
    before = total(scraped(live.monitor), "motet_windows_total")
    os.kill(live.supervisor.pids()[role][0], signal.SIGKILL)

    def mended() -> bool:
        state = state_of(live.monitor)  # of one moment: the answer before may tell of another
        again = {"role": role, "cause": "died", "count": 1} in state["restarts"]
        windows = total(scraped(live.monitor), "motet_windows_total")
        return again and state["ready"] and windows > before + len(STREAMS)

    await_that(f"{role} started anew", mended)


def test_what_is_shown_of_a_run_outlives_its_actors(live):
    monitor, looker = live.monitor, live.looker
    found = await_that(
        "windows", lambda: total(now := scraped(monitor), "motet_windows_total") >= 6 and now
    )
    families = {METRIC_OF.get(name, name) for name, _ in found}
    assert families <= METRICS.keys()
    assert PROMISED_METRICS - families <= {"motet_actor_restarts_total"}, "nothing has ended yet"
    for name, metric in METRICS.items():
        for labels in (dict(given) for of, given in found if METRIC_OF.get(of, of) == name):
            assert labels.keys() - {"le"} == {*metric.labels}, name
    assert {dict(labels)["slot"] for of, labels in found if of == "motet_open_bytes"} == {"0", "1"}

    state = state_of(monitor)
    assert (state["name"], state["host"], state["ready"]) == (live.spec.name, "ray", True)
    assert [(lane["lane"], lane["slot"]) for lane in state["lanes"]] == [
        (lane, lane % 2) for lane in range(PARTITIONS)
    ]
    await_that(
        "lanes that wait for nothing",
        lambda: not any(lane["waiting"] for lane in state_of(monitor)["lanes"]),
    )
    replicas = {stage["name"]: stage["replicas"] for stage in state["stages"]}
    assert {name: [one["device"] for one in found] for name, found in replicas.items()} == {
        "sound": ["cpu"],
        "words": ["cpu"],
    }

    for role in ("encoder", "ingest", "fusion"):
        kill(live, role)
    state = state_of(monitor)
    assert state["restarts"] == [
        {"role": role, "cause": "died", "count": 1} for role in ("encoder", "fusion", "ingest")
    ]

    live.sender.end()
    sent = {
        "mic": live.sender.steps * len(STREAMS),
        "chat": -(-live.sender.steps // 8) * len(STREAMS),
    }

    def settled() -> dict[Series, float] | None:
        """Once all that was sent is committed, and what has come out is counted."""
        now = scraped(monitor)
        if any(total(now, "motet_records_total", input=name) < sent[name] for name in sent):
            return None
        results = live.user.results(live.spec.name)
        closed = live.sender.steps * STEP_US // 1_000_000 * len(STREAMS)
        return now if total(now, "motet_windows_total") == len(results) >= closed else None

    found = await_that("all that was sent", settled)
    for name, count in sent.items():
        assert total(found, "motet_records_total", input=name) == count
    results = [json.loads(line.partition(" ")[2]) for line in live.user.results(live.spec.name)]
    assert total(found, "motet_windows_total") == len(results)
    missing = sum("chat" in result["missing"] for result in results)
    assert total(found, "motet_windows_incomplete_total", missing="chat") == missing > 0
    # windows do not overlap: each record is fused once
    assert total(found, "motet_record_fates_total", fate="fused") == sum(sent.values())
    assert total(found, "motet_record_fates_total") == sum(sent.values())
    # a gauge of the ingest half, which is asked apart from the fusion half that commits
    await_that("no lag", lambda: total(scraped(monitor), "motet_consumer_lag_records") == 0)

    assert looker.scrapes > 20
    assert looker.fallen == []
    assert looker.readiness[0] == (503, "starting\n")
    codes = [code for code, _ in looker.readiness]
    assert codes[-1] == 200
    assert codes.count(200) >= 3, "it was not ready while the slots of a killed half had no owner"

    own = {r["window"]["start_us"]: r for r in results if r["stream"] == STREAMS[0]}
    await_that("events", lambda: len(live.listener.got) >= len(own))
    heard = [json.loads(event["data"]) for event in live.listener.got]
    assert [one["window"]["start_us"] for one in heard] == sorted(own)
    for event, one in zip(live.listener.got, heard, strict=True):
        assert event["id"] == f"{STREAMS[0]}/{one['window']['start_us']}"
        assert {key: one[key] for key in one if key != "model"} == own[one["window"]["start_us"]]
