"""Where actors go, without Ray: what it is asked, and what a group is asked for."""

from __future__ import annotations

from collections import Counter

import pytest
from pipelines import LOBBY, load

from actors import placement
from pipeline.scaling.ground import Node
from pipeline.tasks.planning import Resources

NODES = [Node(f"node-{number}", 16.0) for number in range(5)]
REPLICAS = 40
SECOND_US = 1_000_000


class Ray:
    """The nodes that it has, how often it is asked for them, and which node each group wants."""

    def __init__(self) -> None:
        self.nodes = list(NODES)
        self.now_us = 0
        self.asked: Counter[str] = Counter()
        self.wanted: list[str | None] = []

    def alive_nodes(self) -> list[Node]:
        self.asked["nodes"] += 1
        return list(self.nodes)

    def free_of(self, nodes) -> dict[str, tuple[float, float]]:
        self.asked["free"] += 1
        return {node.name: (node.cpus, 0.0) for node in nodes}

    def placement_group(self, _bundles, **options) -> object:
        self.wanted.append(options["_soft_target_node_id"])
        return object()


@pytest.fixture
def ray(monkeypatch):
    ray = Ray()
    monkeypatch.setattr(placement.clock, "monotonic_us", lambda: ray.now_us)
    for name in ("alive_nodes", "free_of", "placement_group"):
        monkeypatch.setattr(placement, name, getattr(ray, name))
    monkeypatch.setattr(placement, "PlacementGroupSchedulingStrategy", lambda **given: given)
    return ray


def places() -> placement.Places:
    changes = {"stages.sound.replicas": REPLICAS, "stages.sound.num_gpus": 0}
    return placement.Places(load(LOBBY, changes), Resources.of(NODES))


def test_a_whole_plan_is_given_out_with_one_question(ray):
    made = places()
    for number in range(REPLICAS):
        made.replica(f"sound-{number}", "sound")
    assert ray.asked == {"nodes": 1}
    assert sorted(Counter(ray.wanted).values()) == [8] * 5
    made.replica("one more", "sound")  # no plan has it: what is free must be known
    assert ray.asked == {"nodes": 2, "free": 1}


def test_a_node_of_the_plan_that_has_gone_is_not_waited_for(ray):
    made = places()
    made.replica("sound-0", "sound")
    ray.nodes, ray.now_us = NODES[:2], SECOND_US
    for number in range(1, REPLICAS):
        made.replica(f"sound-{number}", "sound")
    assert set(ray.wanted[1:]) == {"node-0", "node-1"}
