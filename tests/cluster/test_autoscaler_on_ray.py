"""A stage needs more than the cluster has a place for, and Ray's autoscaler adds a node."""

from __future__ import annotations

import json
import signal
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest
import yaml
from kafka_user import BEGIN_US, PARTITIONS, Command, await_that
from ports import free_port
from ray_autoscaled import RayAutoscaled

from pipeline.connectors.kafka import KafkaConnector
from pipeline.local import run_local
from pipeline.spec import load
from pipeline.tasks.host import RunControl

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(600), pytest.mark.long]

STREAMS, SECONDS = 8, 40
OWN = '''
import time
from pathlib import Path
import numpy as np


class Slow:
    """Until there is a file ``fast`` beside it."""

    takes, gives, length = "text", "vector", 2

    def __init__(self, device):
        self.fast = Path(__file__).with_name("fast")

    def encode(self, batch):
        if not self.fast.exists():
            time.sleep(0.25 * len(batch))
        return [np.array([len(c.text), sum(map(ord, c.text))], np.float32) for c in batch]
'''


@pytest.fixture
def cluster(monkeypatch) -> Iterator[RayAutoscaled]:
    found = RayAutoscaled(head_cpus=2, node_cpus=4, nodes_max=1)
    try:
        found.start()
        monkeypatch.setenv("RAY_ADDRESS", found.address)
        yield found
    finally:
        found.cleanup()


def test_a_backlog_gets_replicas_on_a_node_that_is_added_for_them_and_goes_again(
    cluster, user, tmp_path
):
    name, port = f"more{uuid.uuid4().hex[:8]}", free_port()
    (tmp_path / "more_own.py").write_text(OWN)
    tree = {
        "name": name,
        "kafka": {"bootstrap": user.bootstrap},
        "inputs": {"chat": {"topic": f"{name}.text", "type": "text/plain"}},
        "windows": {"size": "1s", "idle": "0ms"},
        "slots": 2,
        "commit_interval": "50ms",
        "stages": {
            "slow": {
                "encoder": "more_own:Slow",
                "of": "chat",
                "replicas": {"min": 1, "max": 4},
                "batch_max": 4,
                "timeout": "10m",  # a node takes its time to come
            }
        },
        "fusion": {"rule": "concat", "of": {"slow": 1}},
        "outputs": {
            "results": f"{name}.results", "late": f"{name}.late", "dead_letter": f"{name}.dead",
        },
        "metrics": {"port": port},
        "ray": {"autoscaler": True},
    }  # fmt: skip
    file = tmp_path / "file.yaml"
    file.write_text(yaml.safe_dump(tree))
    spec = load(file)
    with closing(KafkaConnector(user.bootstrap).control()) as control:
        for topic in (*spec.topics_in(), *spec.topics_out()):
            control.create_topic(topic, PARTITIONS, 1, {})
    for second in range(SECONDS):
        for number in range(STREAMS):
            at_us = BEGIN_US + second * 1_000_000
            words, length = f"{second} of {number}".encode(), ("ce_mediadur", b"1000000")
            partition = number % PARTITIONS
            user.send(f"{name}.text", f"s{number}", words, at_us, length, partition=partition)
    user.producer.flush()
    run = Command(["run", file], tmp_path / "run")

    def stage() -> dict:
        assert not run.ended, run.err
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/state") as answer:
            [one] = json.load(answer)["stages"]
            return one["scaling"] or {}

    try:
        await_that("it runs", lambda: "live page at" in run.err or run.ended, 150)
        assert cluster.added() == []
        await_that("four are ready", lambda: stage().get("ready") == 4, 250)
        assert len(cluster.added()) == 1
        assert "Ray's autoscaler is asked for the rest" in run.err
        (tmp_path / "fast").touch()
        await_that("one is left", lambda: stage()["ready"] == 1, 200)
        await_that("all windows", lambda: len(user.results(name, False)) == STREAMS * SECONDS)
        await_that("the node is taken away", lambda: cluster.added() == [], 100)
        assert "starting it anew" not in run.err, run.err
        run.signal(signal.SIGTERM)
        assert run.wait(60) == 0, run.err
    finally:
        run.kill()
    tree |= {
        "name": f"{name}-calm",
        "outputs": {k: f"{name}-calm.{k}" for k in ("results", "late", "dead_letter")},
    }
    file.write_text(yaml.safe_dump(tree))
    calm = load(file)
    with closing(KafkaConnector(user.bootstrap).control()) as control:
        for topic in calm.topics_out():
            control.create_topic(topic, PARTITIONS, 1, {})
    run_local(calm, KafkaConnector(user.bootstrap), RunControl(until_end=True))
    assert user.results(name) == user.results(f"{name}-calm")
