"""Two pipelines on one cluster, one Kafka and one topic: what one suffers the other does not."""

from __future__ import annotations

import json
import signal
import urllib.request
import uuid
from contextlib import closing
from pathlib import Path

import pytest
import ray
import yaml
from kafka_user import BEGIN_US, PARTITIONS, Command, KafkaUser, await_that
from ports import free_port
from ray.util.placement_group import placement_group_table

from pipeline.connectors.kafka import KafkaConnector
from pipeline.local import run_local
from pipeline.spec import load
from pipeline.tasks.host import RunControl

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(400), pytest.mark.long]

STREAMS = 8
OWN = '''
import os
import time
import numpy as np


class Plain:
    takes, gives, length = "text", "vector", 2

    def __init__(self, device):
        pass

    def encode(self, batch):
        return [np.array([len(c.text), sum(map(ord, c.text))], np.float32) for c in batch]


class Dies(Plain):
    """Of a window of the fifth second its whole process does; and it is slow."""

    def encode(self, batch):
        time.sleep(0.02 * len(batch))
        if any(c.text.startswith("5 ") for c in batch):
            os._exit(1)
        return super().encode(batch)
'''


@pytest.fixture
def topic(user) -> str:
    name = f"both{uuid.uuid4().hex[:8]}.text"
    with closing(KafkaConnector(user.bootstrap).control()) as control:
        control.create_topic(name, PARTITIONS, 1, {})
    return name


def write(
    folder: Path, user: KafkaUser, topic: str, name: str, encoder: str, port: int, **stage: object
) -> Path:
    (folder / "two_own.py").write_text(OWN)
    tree = {
        "name": name,
        "kafka": {"bootstrap": user.bootstrap},
        "inputs": {"chat": {"topic": topic, "type": "text/plain"}},
        "windows": {"size": "1s", "idle": "0ms"},
        "slots": 2,
        "commit_interval": "50ms",
        "stages": {"own": {"encoder": f"two_own:{encoder}", "of": "chat", **stage}},
        "fusion": {"rule": "concat", "of": {"own": 1}},
        "outputs": {
            "results": f"{name}.results", "late": f"{name}.late", "dead_letter": f"{name}.dead",
        },
        "metrics": {"port": port},
    }  # fmt: skip
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(tree))
    with closing(KafkaConnector(user.bootstrap).control()) as control:
        for out in load(path).topics_out():
            if control.topics([out])[out] is None:
                control.create_topic(out, PARTITIONS, 1, {})
    return path


def send(user: KafkaUser, topic: str, seconds: range) -> None:
    for second in seconds:
        for number in range(STREAMS):
            at_us = BEGIN_US + second * 1_000_000
            words, length = f"{second} of {number}".encode(), ("ce_mediadur", b"1000000")
            user.send(topic, f"s{number}", words, at_us, length, partition=number % PARTITIONS)
    user.producer.flush()


def state(port: int) -> dict:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/state") as answer:
        return json.load(answer)


def groups(name: str) -> int:
    """Placement groups that a pipeline has now."""
    return sum(
        each["name"].startswith(f"motet/{name}/") and each["state"] == "CREATED"
        for each in placement_group_table().values()
    )


def calm(folder: Path, user: KafkaUser, topic: str) -> list[str]:
    name = f"calm{uuid.uuid4().hex[:8]}"
    spec = load(write(folder, user, topic, name, "Plain", 0))
    run_local(spec, KafkaConnector(user.bootstrap), RunControl(until_end=True))
    return user.results(name)


def test_one_that_is_poisoned_slow_and_killed_changes_nothing_of_the_other(
    user, topic, ray_address, tmp_path, monkeypatch
):
    monkeypatch.setenv("RAY_ADDRESS", ray_address)
    port = free_port()
    well, ill = (f"{word}{uuid.uuid4().hex[:8]}" for word in ("well", "ill"))
    first = Command(["run", write(tmp_path, user, topic, well, "Plain", port)], tmp_path / "first")
    second = None
    try:
        await_that("one runs", lambda: "live page at" in first.err or first.ended, 150)
        second = Command(
            ["run", write(tmp_path, user, topic, ill, "Dies", port)], tmp_path / "second"
        )
        await_that("its port is taken", lambda: "the port is taken" in second.err or second.ended)
        send(user, topic, range(4))
        # A window is closed by the next second of its stream.
        await_that("both work", lambda: user.count(ill) and user.count(well), 150)
        assert groups(well) == groups(ill) == 2, "an owner and a replica of each"
        send(user, topic, range(4, 12))
        await_that("poisoned", lambda: second.err.count("its process died") >= 2, 150)
        await_that("one goes on", lambda: len(user.results(well, False)) >= 11 * STREAMS, 150)
        second.signal(signal.SIGKILL)
        second.wait()
        await_that("its actors are gone", lambda: groups(ill) == 0, 60)
        assert groups(well) == 2
        send(user, topic, range(12, 16))
        await_that("one goes on", lambda: len(user.results(well, False)) >= 15 * STREAMS, 150)
        assert state(port)["restarts"] == []
        assert state(port)["name"] == well
        committed = [dict(user.committed(name)) for name in (well, ill)]
        assert committed[0].keys() == committed[1].keys(), "the same partitions, two groups"
        first.signal(signal.SIGTERM)
        assert first.wait(60) == 0, first.err
    finally:
        first.kill()
        if second is not None:
            second.kill()
    assert "ended" not in first.err
    assert (
        Command(
            ["run", tmp_path / f"{well}.yaml", "--until-end", "--local"], tmp_path / "rest"
        ).wait(150)
        == 0
    )
    assert user.results(well) == calm(tmp_path, user, topic)


@pytest.mark.parametrize("gpus", [0, 2], ids=["on the CPU", "with all GPUs of the cluster"])
def test_a_second_run_of_the_same_name_takes_over_from_the_first(
    user, topic, ray_address, tmp_path, monkeypatch, gpus
):
    monkeypatch.setenv("RAY_ADDRESS", ray_address)
    name = f"same{uuid.uuid4().hex[:8]}"
    file = write(tmp_path, user, topic, name, "Plain", 0, num_gpus=gpus)
    send(user, topic, range(4))
    first = Command(["run", file], tmp_path / "first")
    second = None
    try:
        await_that("one works", lambda: user.count(name) or first.ended, 150)
        assert ray.available_resources().get("GPU", 0) == 2 - gpus
        second = Command(["run", file], tmp_path / "second")
        assert first.wait(150) == 1, first.err
        assert "took over" in first.err or "taken over" in first.err, first.err
        send(user, topic, range(4, 8))
        await_that("two works", lambda: len(user.results(name, False)) == 7 * STREAMS, 150)
        assert not second.ended, second.err
        assert "starting it anew" not in second.err
        second.signal(signal.SIGTERM)
        assert second.wait(60) == 0, second.err
    finally:
        first.kill()
        if second is not None:
            second.kill()
    rest = ["run", file, "--until-end", "--local", "--set", "stages.own.num_gpus=0"]
    assert Command(rest, tmp_path / "rest").wait(150) == 0
    assert user.results(name) == calm(tmp_path, user, topic)
