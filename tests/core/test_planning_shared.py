"""What a pipeline takes of a cluster that others use too, and what it may take at most."""

from __future__ import annotations

import pytest
from pipelines import LOBBY, load

from pipeline.errors import InvalidInput
from pipeline.scaling.ground import Node
from pipeline.tasks.planning import (
    Resources,
    cpus_per_actor,
    gpus_of,
    missing,
    owner_count,
    place,
    replicas_most,
)

NODES = [Node(f"n{number}", 8.0, 2) for number in range(4)]


def sound(**keys: object) -> dict:
    """The stages, one of them with other keys."""
    stages = LOBBY["stages"]
    return {"stages": {**stages, "sound": {**stages["sound"], **keys}}}


SCALED = sound(replicas={"min": 1, "max": 99})


def taken(spec, resources: Resources) -> float:
    """CPUs in Ray's books once every stage has what a run starts with."""
    placement = place(spec, resources, 4)
    assert not placement.layout.lacking
    return placement.actors * placement.cpus_per_actor


def test_what_others_hold_is_left_to_them_and_all_still_find_a_place():
    spec = load(LOBBY)
    free = {node.name: (0.5, 0.0) for node in NODES}
    beside = Resources.of(NODES, free)
    assert taken(spec, beside) <= 2.0
    placed = place(spec, beside, 4).layout
    for node in NODES:
        actors = 2 * placed.owners.count(node.name) + sum(
            spot is not None and spot.node == node.name
            for spots in placed.replicas.values()
            for spot in spots
        )
        assert actors * cpus_per_actor(spec, beside) <= 0.5
    assert owner_count(spec, beside) == owner_count(spec, Resources.of(NODES)), "by what is there"
    assert [gpus_of(spec, name, beside) for name in spec.stages] == [0, 0, 0], "all are given out"
    assert all(gpus_of(spec, name, Resources.of(NODES)) == 1 for name in spec.stages)


def test_a_third_and_a_tenth_run_beside_others_find_a_place_too():
    spec, left = load(LOBBY), 4.0
    for _ in range(3):
        resources = Resources.of([Node("n", 4.0)], {"n": (left, 0.0)})
        left -= taken(spec, resources)
        assert left > 0
    assert cpus_per_actor(spec, Resources.of([Node("n", 4.0)], {"n": (0.0001, 0.0)})) > 0


def test_a_pipeline_takes_no_more_than_its_file_lets_it():
    spec = load(LOBBY, {"ray": {"cpus": 4, "gpus": 1}, **SCALED})
    cluster = Resources.of(NODES)
    assert taken(spec, cluster) <= 4
    assert owner_count(spec, cluster) == 1
    assert replicas_most(spec, "sound", cluster) == 4
    assert gpus_of(spec, "sound", cluster) == pytest.approx(1 / 101), "all may come to share one"
    assert replicas_most(load(LOBBY, SCALED), "sound", cluster) == 32


def test_a_demand_over_its_own_limit_is_missing():
    demands = sound(num_gpus=2)
    spec = load(LOBBY, {"ray": {"gpus": 1}, **demands})
    [problem] = missing(spec, Resources.of(NODES))
    assert "demand 2 GPUs and 1 are there" in str(problem)
    assert missing(load(LOBBY, demands), Resources.of(NODES)) == []


def test_an_autoscaler_may_bring_what_is_not_there():
    demands = sound(num_gpus=2)
    spec = load(LOBBY, {"ray": {"autoscaler": True}, **demands})
    head = Resources.of([Node("head", 0.0)], {"head": (0.0, 0.0)})
    assert place(spec, head, 4).missing == ()
    assert cpus_per_actor(spec, head) == 1.0
    assert place(load(LOBBY, demands), head, 4).missing


@pytest.mark.parametrize(("key", "value"), [("cpus", 0), ("cpus", "2"), ("gpus", -1)])
def test_limits_that_are_none_are_refused(key, value):
    with pytest.raises(InvalidInput, match=rf"ray\.{key}"):
        load(LOBBY, {"ray": {key: value}})
