"""A node that Ray drains while a run works on it: all leaves it, and nobody sees it die."""

from __future__ import annotations

import json
import signal
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest
import yaml
from kafka_user import BEGIN_US, PARTITIONS, Command, KafkaUser, await_that, noise
from ports import free_port
from ray_nodes import RayNodes, lives

from pipeline.connectors.kafka import KafkaConnector
from pipeline.local import run_local
from pipeline.spec import PipelineSpec, loads
from pipeline.tasks.host import RunControl

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(500), pytest.mark.long]

STREAMS = 8


@pytest.fixture
def nodes(monkeypatch) -> Iterator[RayNodes]:
    found = RayNodes(0, (4, 4, 4))
    try:
        found.start()
        monkeypatch.setenv("RAY_ADDRESS", found.address)
        yield found
    finally:
        found.cleanup()


def text(name: str, topic: str, bootstrap: str, port: int = 0) -> str:
    tree = {
        "name": name,
        "kafka": {"bootstrap": bootstrap},
        "inputs": {"mic": {"topic": topic, "type": "audio/L16;rate=16000;channels=1"}},
        "windows": {"size": "1s"},
        "slots": 2,
        "commit_interval": "100ms",
        "stages": {"sound": {"encoder": "log_mel", "of": "mic", "replicas": 3, "num_gpus": 0}},
        "fusion": {"rule": "concat", "of": {"sound": 1}},
        "outputs": {
            "results": f"{name}.results", "late": f"{name}.late", "dead_letter": f"{name}.dead",
        },
        "metrics": {"port": port},
    }  # fmt: skip
    return yaml.safe_dump(tree)


def create(spec: PipelineSpec) -> None:
    with closing(KafkaConnector(spec.kafka.bootstrap).control()) as control:
        for topic in (*spec.topics_in(), *spec.topics_out()):
            if control.topics([topic])[topic] is None:
                control.create_topic(topic, PARTITIONS, 1, {})


def send(user: KafkaUser, topic: str, second: int) -> None:
    for number in range(STREAMS):
        at_us = BEGIN_US + second * 1_000_000
        user.send(topic, f"s{number}", noise(second), at_us, partition=number % PARTITIONS)
    user.producer.flush()


def on(nodes: RayNodes, node: object, role: str) -> int:
    return len(nodes._of(node, role))


def test_a_drained_node_is_left_under_load_and_its_end_is_no_death(nodes, user, tmp_path):
    name, port = f"drain{uuid.uuid4().hex[:8]}", free_port()
    topic = f"{name}.audio"
    file = tmp_path / "file.yaml"
    file.write_text(text(name, topic, user.bootstrap, port))
    create(loads(file.read_text(), folder=tmp_path))
    run = Command(["run", file], tmp_path / "run")
    second = 0

    def load(until) -> object:
        """A second of every stream again and again, as fast as it goes."""
        nonlocal second

        def sent() -> object:
            nonlocal second
            send(user, topic, second)
            second += 1
            assert not run.ended, run.err
            return until()

        return await_that("under load", sent, 200)

    def state() -> dict:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/state") as answer:
            return json.load(answer)

    try:
        load(lambda: user.count(name))
        lost = nodes.holder("ingest")
        assert on(nodes, lost, "encoder") == 1
        nodes.drain(lost, within_s=120)
        load(lambda: state()["draining"])
        [shown] = state()["draining"]
        assert (shown["owners"], shown["replicas"]) == (1, 1)
        assert shown["by"].endswith("Z")
        load(lambda: "nothing is left on node" in run.err)
        raylet = nodes.raylet(lost)
        await_that("the node ends by itself", lambda: nodes.reap() or not lives(raylet), 60)
        nodes.forget(lost)
        await_that("and is shown no more", lambda: state()["draining"] == [])
        left = [
            sum(on(nodes, node, role) for node in nodes.nodes) for role in ("ingest", "encoder")
        ]
        assert left == [2, 3]
        figures = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        assert 'motet_actor_moves_total{role="owner"} 1' in figures
        assert 'motet_actor_moves_total{role="encoder"} 1' in figures
        assert state()["restarts"] == [], "no death was seen"
        load(lambda: user.count(name) > 0)
        run.signal(signal.SIGTERM)
        assert run.wait(60) == 0, run.err
    finally:
        run.kill()
    said = run.err
    assert "will go in 1" in said
    assert "1 owner and 1 replica will move elsewhere" in said
    assert "starting it anew" not in said
    for each in (name, f"{name}-calm"):
        spec = loads(text(each, topic, user.bootstrap), folder=tmp_path)
        create(spec)
        run_local(spec, KafkaConnector(user.bootstrap), RunControl(until_end=True))
    assert user.results(name) == user.results(f"{name}-calm")
    results = user.results(name)
    assert len(results) == len(set(results)) == STREAMS * second
    assert all(json.loads(line.partition(" ")[2])["failed"] == {} for line in results)
