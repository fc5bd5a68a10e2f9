"""Several Ray nodes: a slot's two halves together, replicas spread, and what a lost node had goes
elsewhere."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest
import yaml
from kafka_user import PARTITIONS, Command, await_that
from ray_nodes import RayNodes, title

from pipeline.connectors.kafka import KafkaConnector
from pipeline.local import run_local
from pipeline.spec import load
from pipeline.tasks.host import RunControl

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(400), pytest.mark.long]

SECONDS = 5


@pytest.fixture
def nodes(monkeypatch) -> Iterator[RayNodes]:
    found = RayNodes(0, (4, 4, 4))
    try:
        found.start()
        monkeypatch.setenv("RAY_ADDRESS", found.address)
        yield found
    finally:
        found.cleanup()


def tree(name: str, bootstrap: str, prefix: str) -> dict:
    return {
        "name": name,
        "kafka": {"bootstrap": bootstrap},
        "inputs": {"mic": {"topic": f"{prefix}.audio", "type": "audio/L16;rate=16000;channels=1"}},
        "windows": {"size": "1s"},
        "slots": 2,
        "stages": {"sound": {"encoder": "log_mel", "of": "mic", "replicas": 3, "num_gpus": 0}},
        "fusion": {"rule": "concat", "of": {"sound": 1}},
        "outputs": {
            "results": f"{name}.results", "late": f"{name}.late", "dead_letter": f"{name}.dead",
        },
        "metrics": {"port": 0},
    }  # fmt: skip


def standing(nodes: RayNodes) -> list[dict[str, int]]:
    """By node, how many actors of each role."""
    words = {"ray::IngestActor": "ingest", "ray::FusionActor": "fusion", "ray::Encoder": "encoder"}
    found = []
    for node in nodes.nodes:
        count = dict.fromkeys(words.values(), 0)
        for pid in nodes.workers(node):
            for prefix, word in words.items():
                count[word] += title(pid).startswith(prefix)
        found.append(count)
    return found


def test_a_run_is_spread_as_planned_and_a_lost_nodes_actors_go_elsewhere(nodes, user, tmp_path):
    name = f"place{uuid.uuid4().hex[:8]}"
    file = tmp_path / "file.yaml"
    file.write_text(yaml.safe_dump(tree(name, user.bootstrap, name)))
    spec = load(file)
    with closing(KafkaConnector(user.bootstrap).control()) as control:
        for topic in (*spec.topics_in(), *spec.topics_out()):
            control.create_topic(topic, PARTITIONS, 1, {})
    user.send_sound(name, range(SECONDS))
    run = Command(["run", file], tmp_path / "run")
    try:
        count = await_that("results", lambda: user.count(name) or run.ended, 200)
        assert count is not True, run.err
        head, *workers = standing(nodes)
        assert head == {"ingest": 0, "fusion": 0, "encoder": 0}, "it has no CPUs"
        assert sorted(each["encoder"] for each in workers) == [1, 1, 1]
        assert sorted(each["ingest"] for each in workers) == [0, 1, 1]
        assert all(each["ingest"] == each["fusion"] for each in workers), workers
        lost = nodes.nodes[1 + [each["ingest"] for each in workers].index(1)]
        nodes.kill(lost)
        nodes.forget(lost)
        user.send_sound(name, range(SECONDS, 2 * SECONDS))

        def elsewhere() -> bool:
            _, *left = standing(nodes)
            whole = [sum(each[role] for each in left) for role in ("ingest", "fusion", "encoder")]
            return whole == [2, 2, 3]

        await_that("all of them elsewhere", elsewhere, 150)
        _, *left = standing(nodes)
        assert all(each["ingest"] == each["fusion"] for each in left), left
    finally:
        run.kill()
    other = tmp_path / "other"
    again = Command(["run", file, "--until-end", "--local"], other)
    assert again.wait(150) == 0, again.err
    calm = tmp_path / "calm.yaml"
    calm.write_text(yaml.safe_dump(tree(f"{name}-calm", user.bootstrap, name)))
    spec = load(calm, environ=dict(os.environ))
    with closing(KafkaConnector(user.bootstrap).control()) as control:
        for topic in spec.topics_out():
            control.create_topic(topic, PARTITIONS, 1, {})
    run_local(spec, KafkaConnector(user.bootstrap), RunControl(until_end=True))
    assert user.results(name) == user.results(f"{name}-calm")
