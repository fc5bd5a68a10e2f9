"""The way to a Ray cluster that is not there: said at once, and ended in time, without Ray."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from ports import free_port

from actors import cluster
from pipeline.errors import InvalidInput, Unreachable
from pipeline.spec import PipelineSpec, loads
from pipeline.tasks.host import RunControl

FILE = """
version: 1
name: x
inputs: {{chat: {{topic: x.text, type: text/plain}}}}
windows: {{size: 1s}}
stages: {{words: {{encoder: hash_text, of: chat}}}}
fusion: {{rule: weighted_sum, of: {{words: 1}}}}
outputs: {{results: x.results, late: x.late, dead_letter: x.dead}}
kafka: {{bootstrap: "127.0.0.1:9092"}}
ray: {{address: "{address}"}}
"""


def spec_at(address: str) -> PipelineSpec:
    return loads(FILE.format(address=address), folder=Path(), environ={})


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch):
    """Reaching ``ray.init`` would mean two minutes of Ray's own waiting."""
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster.ray, "init", lambda **_: pytest.fail("went on to Ray"))


def test_a_cluster_that_does_not_answer_is_waited_for_and_told(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_US", 1_500_000)
    said: list[str] = []
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable, match=f"ray.address = {address}: no Ray cluster answers"):
        cluster.connect(spec_at(address), RunControl(say=said.append))
    [line] = said
    assert line.startswith(f"waiting for the Ray cluster at {address} (")


def test_being_told_to_stop_ends_the_wait():
    control = RunControl()
    control.stop.set()
    with pytest.raises(Unreachable):
        cluster.connect(spec_at(f"127.0.0.1:{free_port()}"), control)


@pytest.mark.parametrize("address", ["nonsense", "host:99999", "ray://head:10001", "head:"])
def test_an_address_that_is_none_is_named(address):
    with pytest.raises(InvalidInput, match="is not HOST:PORT; write HOST:PORT as"):
        cluster.connect(spec_at(address))


def test_one_that_answers_is_handed_to_ray(monkeypatch):
    seen = {}
    monkeypatch.setattr(cluster.ray, "init", lambda **given: seen.update(given))
    alive = {"Alive": True, "NodeID": "a", "NodeManagerAddress": "h", "Resources": {"CPU": 2.0}}
    gone = {**alive, "Alive": False, "NodeID": "b"}
    with_gpus = {**alive, "NodeID": "c", "Resources": {"CPU": 8.0, "GPU": 2.0}}
    with_gpus["Labels"] = {cluster.GPU_MEMORY: "80GiB"}
    monkeypatch.setattr(cluster.ray, "nodes", lambda: [alive, gone, with_gpus])
    monkeypatch.setattr(cluster, "draining_nodes", dict)
    free = {"a": (2.0, 0.0), "c": (8.0, 2.0)}
    monkeypatch.setattr(cluster, "free_for", lambda _name, _nodes: free)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        found = cluster.connect(spec_at(address))
    assert (found.cpus, found.gpus) == (10.0, 2.0)
    assert [(node.name, node.gpu_memory_bytes) for node in found.nodes] == [
        ("a", None), ("c", 80 << 30),
    ]  # fmt: skip
    with_gpus["Labels"] = {cluster.GPU_MEMORY: "80GB"}
    with pytest.raises(InvalidInput, match="the label motet/gpu-memory of node h = 80GB: 'GB'"):
        cluster.alive_nodes()
    assert seen["address"] == address


def test_a_local_ray_that_does_not_start_is_told_with_the_way_out(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")

    def init(**_settings: object) -> None:
        raise Exception("The current node timed out\nduring startup")

    monkeypatch.setattr(cluster.ray, "init", init)
    with pytest.raises(
        Unreachable, match=r"did not start \(Exception: The .* out during startup\)"
    ):
        cluster.connect(spec_at("auto"), RunControl())
