"""Nodes that differ: where `motet plan` says that actors go is where a run has them."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest
import yaml
from kafka_user import PARTITIONS, Command, await_that
from ray_nodes import RayNodes

from pipeline.connectors.kafka import KafkaConnector
from pipeline.spec import load

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(400), pytest.mark.long]


@pytest.fixture
def nodes(monkeypatch) -> Iterator[RayNodes]:
    """GPUs in Ray's books alone: replicas that have one compute on the CPU."""
    found = RayNodes(0, ())
    try:
        found.start()
        found.add(8, resources={"disk": 1.0}, labels={"zone": "a"})
        found.add(4, gpus=2, labels={"zone": "b", "motet/gpu-memory": "24GiB"})
        found.add(2, gpus=1, labels={"motet/gpu-memory": "80GiB"})
        monkeypatch.setenv("RAY_ADDRESS", found.address)
        yield found
    finally:
        found.cleanup()


def answered(command: Command) -> dict:
    assert command.wait(120) == 0, command.err
    return json.loads(command.out)


def test_a_run_stands_where_the_plan_says_on_nodes_that_differ(nodes, user, tmp_path):
    name = f"unlike{uuid.uuid4().hex[:8]}"
    tree = {
        "name": name,
        "kafka": {"bootstrap": user.bootstrap},
        "inputs": {"mic": {"topic": f"{name}.audio", "type": "audio/L16;rate=16000;channels=1"}},
        "windows": {"size": "1s"},
        "slots": 4,
        "stages": {
            "sound": {"encoder": "log_mel", "of": "mic", "replicas": 3, "num_gpus": 0},
            "large": {
                "encoder": "log_mel",
                "of": "mic",
                "replicas": 1,
                "num_gpus": 1,
                "gpu_memory": "60GiB",
            },
            "small": {
                "encoder": "mfcc",
                "of": "mic",
                "replicas": 3,
                "num_gpus": 0.5,
                "gpu_memory": "12GiB",
            },
        },
        "fusion": {"rule": "concat", "of": {"sound": 1, "large": 1, "small": 1}},
        "outputs": {
            "results": f"{name}.results", "late": f"{name}.late", "dead_letter": f"{name}.dead",
        },
        "metrics": {"port": 0},
    }  # fmt: skip
    file = tmp_path / "file.yaml"
    file.write_text(yaml.safe_dump(tree))
    with closing(KafkaConnector(user.bootstrap).control()) as control:
        spec = load(file)
        for topic in (*spec.topics_in(), *spec.topics_out()):
            control.create_topic(topic, PARTITIONS, 1, {})
    user.send_sound(name, range(4))
    planned = answered(Command(["plan", file, "--json"], tmp_path / "plan"))
    assert planned["possible"], planned["missing"]
    by_node = {each["node"]: each for each in planned["nodes"]}
    described = tmp_path / "nodes.yaml"
    described.write_text(yaml.safe_dump({"nodes": [
        {"name": nodes.nodes[0]._node_id, "cpus": 0},
        {"name": nodes.nodes[1]._node_id, "cpus": 8},
        {"name": nodes.nodes[2]._node_id, "cpus": 4, "gpus": 2, "gpu_memory": "24GiB"},
        {"name": nodes.nodes[3]._node_id, "cpus": 2, "gpus": 1, "gpu_memory": "80GiB"},
    ]}))  # fmt: skip
    told = answered(
        Command(["plan", file, "--cluster", described, "--json"], tmp_path / "described")
    )
    assert {each["node"]: each for each in told["nodes"]} == by_node
    assert by_node[nodes.nodes[3]._node_id]["replicas"].get("large") == 1, "it needs so much memory"
    assert by_node[nodes.nodes[0]._node_id]["replicas"] == {}
    run = Command(["run", file], tmp_path / "run")
    try:
        count = await_that("results", lambda: user.count(name) or run.ended, 200)
        assert count is not True, run.err
        for node in nodes.nodes:
            at = by_node[node._node_id]
            stands = {role: len(nodes._of(node, role)) for role in ("ingest", "fusion", "encoder")}
            owners = len(at["owners"])
            replicas = sum(at["replicas"].values())
            assert stands == {"ingest": owners, "fusion": owners, "encoder": replicas}, at
        run.signal(signal.SIGTERM)
        assert run.wait(60) == 0, run.err
    finally:
        run.kill()
    assert "starting it anew" not in run.err
