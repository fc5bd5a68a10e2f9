"""Logs on a real Ray: each actor's lines say whose they are, and all of them follow the level."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka_user import BEGIN_US, PARTITIONS, KafkaUser, await_that

from actors.supervisor import run_on_ray
from pipeline import logs
from pipeline.connectors.kafka import KafkaConnector
from pipeline.spec import loads
from pipeline.tasks.host import RunControl

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(300)]

PIPELINE = """
version: 1
name: {name}
kafka: {{bootstrap: "{bootstrap}", client: {{client_id: "me"}}}}
metrics: {{token: hush-hush}}
inputs: {{chat: {{topic: {name}.text, type: text/plain}}}}
windows: {{size: 1s}}
slots: 2
commit_interval: 50ms
stages: {{words: {{encoder: hash_text, of: chat, options: {{dim: 4}}, num_gpus: 0}}}}
fusion: {{rule: concat, of: {{words: 1}}}}
outputs: {{results: {name}.results, late: {name}.late, dead_letter: {name}.dead}}
"""


@pytest.fixture
def json_logs(monkeypatch) -> Iterator[None]:
    monkeypatch.setenv("MOTET_LOG_FORMAT", "json")
    logs.begin()
    yield
    monkeypatch.undo()
    logs.begin()


@pytest.fixture
def lines(ray_address):
    """What actors of a pipeline have logged up to now."""
    from ray._private import worker

    folder = Path(worker._global_node.get_session_dir_path()) / "logs"

    def read(name: str) -> list[dict[str, Any]]:
        found = []
        for path in folder.glob("worker-*.err"):
            whole = path.read_text(errors="replace").splitlines()
            found += [json.loads(line) for line in whole if line.startswith('{"time"')]
        return [line for line in found if line.get("pipeline") == name]

    return read


@pytest.mark.long
@pytest.mark.usefixtures("json_logs")
def test_actors_name_pipeline_role_slot_and_epoch_and_follow_the_level(kafka, lines):
    name = f"logs{uuid.uuid4().hex[:8]}"
    spec = loads(PIPELINE.format(name=name, bootstrap=kafka), folder=Path())
    connector = KafkaConnector(kafka)
    with closing(connector.control()) as control:
        for topic in (*spec.topics_in(), *spec.topics_out()):
            control.create_topic(topic, PARTITIONS, 1, {})
    steering = RunControl()
    run = threading.Thread(target=run_on_ray, args=(spec, connector, steering), daemon=True)
    run.start()
    try:
        assert steering.ready.wait(150)

        def by_role() -> dict[str, list[dict[str, Any]]]:
            found: dict[str, list[dict[str, Any]]] = {}
            for line in lines(name):
                found.setdefault(line["role"], []).append(line)
            return found if found.keys() >= {"fusion", "encoder"} else {}

        started = await_that("lines of actors", by_role)
        [recovered] = [line for line in started["fusion"] if "recovered" in line["message"]]
        assert recovered["slot"] == [0, 1]
        assert len(recovered["epoch"]) == 2
        assert recovered["cuts"].keys() == {str(lane) for lane in range(PARTITIONS)}
        assert started["encoder"][0]["message"] == "ready on cpu"
        assert started["encoder"][0]["stage"] == "words"

        logs.set_level("debug")
        with closing(KafkaUser(kafka)) as user:
            for second in range(8):
                user.send(f"{name}.text", "s", b"word", BEGIN_US + second * 1_000_000)
            user.producer.flush()
        await_that("a commit", lambda: [x for x in lines(name) if x["message"] == "committed"])
        told = [line for line in lines(name) if line["message"] == "log level is debug"]
        assert {line["role"] for line in told} == {"ingest", "fusion", "encoder"}
        [ingest] = [line for line in told if line["role"] == "ingest"]
        assert (ingest["slot"], ingest["epoch"]) == (recovered["slot"], recovered["epoch"])
    finally:
        steering.stop.set()
        run.join(60)
    assert not run.is_alive()
    assert "hush-hush" not in json.dumps(lines(name))
