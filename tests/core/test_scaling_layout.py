"""Where owners and replicas go: properties over random nodes, and worked cases."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipelines import LOBBY, load

from pipeline.scaling.ground import Ground, Need, Node
from pipeline.scaling.layout import lay_out
from pipeline.scaling.throughput import Rates, limits, remote_share
from pipeline.tasks.planning import Resources, cpus_per_actor, gpus_of, layout, missing

GIB = 1 << 30
NODES = st.lists(
    st.tuples(st.integers(1, 32), st.integers(0, 4), st.sampled_from([None, 16 * GIB, 80 * GIB])),
    min_size=1,
    max_size=6,
).map(lambda found: [Node(f"n{i}", float(c), g, m) for i, (c, g, m) in enumerate(found)])
NEEDS = st.lists(
    st.tuples(
        st.sampled_from([0.25, 0.5, 1.0]),
        st.sampled_from([0, 0.25, 1 / 3, 0.5, 1, 2]),
        st.sampled_from([None, 4 * GIB, 20 * GIB]),
        st.integers(1, 6),
    ),
    min_size=1,
    max_size=4,
).map(lambda all_: [(Need(f"s{i}", c, g, m), n) for i, (c, g, m, n) in enumerate(all_)])


@settings(max_examples=200, deadline=None)
@given(NODES, st.integers(1, 4), NEEDS, st.randoms())
def test_nothing_is_given_out_twice_and_the_order_of_nodes_is_no_matter(
    nodes, owners, needs, random
):
    found = lay_out(nodes, owners, 0.5, needs)
    shuffled = list(nodes)
    random.shuffle(shuffled)
    assert lay_out(shuffled, owners, 0.5, needs) == found
    cpus = Counter(node for node in found.owners if node is not None)
    shares, memory = Counter(), Counter()
    by_name = {node.name: node for node in nodes}
    used = {name: float(count) for name, count in cpus.items()}
    for need, count in needs:
        spots = found.replicas[need.stage]
        assert len(spots) == count
        for spot in spots:
            if spot is None:
                continue
            used[spot.node] = used.get(spot.node, 0) + need.cpus
            assert len(spot.gpus) == (0 if need.gpus == 0 else max(1, round(need.gpus)))
            for gpu in spot.gpus:
                shares[spot.node, gpu] += min(1.0, need.gpus)
                memory[spot.node, gpu] += need.gpu_memory_bytes or 0
        lacking = found.lacking.get(need.stage, (0, ""))[0]
        assert lacking == sum(spot is None for spot in spots)
    for name, taken in used.items():
        assert taken <= by_name[name].cpus + 1e-6
    for share in shares.values():
        assert share <= 1 + 1e-6
    for (name, _), taken in memory.items():
        limit = by_name[name].gpu_memory_bytes
        assert limit is None or taken <= limit


def test_replicas_of_a_stage_and_owners_are_spread_over_equal_nodes():
    nodes = [Node(f"n{i}", 8.0) for i in range(3)]
    found = lay_out(nodes, 3, 0.5, [(Need("a", 0.5, 0), 6), (Need("b", 0.5, 0), 3)])
    assert Counter(found.owners) == {"n0": 1, "n1": 1, "n2": 1}
    for stage, each in (("a", 2), ("b", 1)):
        assert Counter(s.node for s in found.replicas[stage]) == dict.fromkeys(
            ("n0", "n1", "n2"), each
        )
    assert found.on("n1") == {"": 1, "a": 2, "b": 1}


def test_encoders_stand_near_the_ingest_that_feeds_them():
    nodes = [Node("a-cpu", 32.0), Node("b-gpu", 32.0, 4), Node("c-cpu", 32.0)]
    found = lay_out(nodes, 1, 0.5, [(Need("big", 0.5, 1), 2), (Need("small", 0.5, 0), 1)])
    assert found.owners == ("b-gpu",), "where the GPUs are"
    assert {s.node for spots in found.replicas.values() for s in spots} == {"b-gpu"}
    assert remote_share(found) == 0


def test_owners_give_way_where_a_node_with_gpus_has_too_few_cpus_for_both():
    nodes = [Node("cpu", 8.0), Node("gpu", 2.0, 4)]
    found = lay_out(nodes, 2, 0.5, [(Need("big", 0.5, 1), 4)])
    assert not found.lacking
    assert set(found.owners) == {"cpu"}


def test_nodes_that_differ_get_by_what_they_can_take():
    nodes = [Node("big", 64.0, 6), Node("small", 64.0, 2)]
    found = lay_out(nodes, 1, 0.5, [(Need("a", 0.5, 0.5), 8)])
    assert Counter(s.node for s in found.replicas["a"]) == {"big": 6, "small": 2}


@pytest.mark.parametrize(
    ("need", "why"),
    [
        (Need("a", 0.5, 1), "no node has a GPU"),
        (Need("a", 9.0, 0), "no node that has what else it needs has CPUs left"),
    ],
)
def test_what_lacks_is_named(need, why):
    assert lay_out([Node("n", 8.0)], 1, 0.5, [(need, 1)]).lacking == {"a": (1, why)}


def test_memory_of_gpus_is_counted():
    nodes = [Node("n", 8.0, 2, 16 * GIB)]
    found = lay_out(nodes, 1, 0.5, [(Need("a", 0.1, 0.25, 7 * GIB), 6)])
    assert Counter(s.gpus for s in found.replicas["a"] if s) == {(0,): 2, (1,): 2}
    assert found.lacking["a"] == (2, "no GPU that has a share left has so much memory left")
    spec = load(LOBBY, {"stages.sound.gpu_memory": "20GiB", "stages.sound.num_gpus": 1})
    [problem] = missing(spec, Resources.of(nodes))
    assert str(problem) == (
        "stages.sound.gpu_memory = 20GiB: 1 of 1 replicas find no place: no GPU that has a share "
        "left has so much memory left; lower it or replicas.min, or join GPU nodes"
    )


def test_an_automatic_share_leaves_the_memory_that_is_declared():
    spec = load(LOBBY, {"stages.sound.gpu_memory": "9GiB"})
    assert gpus_of(spec, "sound", Resources.of([Node("n", 8.0, 1, 16 * GIB)])) == 1.0
    assert gpus_of(spec, "sound", Resources.of([Node("n", 8.0, 1, 20 * GIB)])) == 0.5
    assert gpus_of(spec, "colour", Resources.of([Node("n", 8.0, 1, 16 * GIB)])) == 1 / 3


def test_shares_of_cpus_become_smaller_until_all_find_a_node():
    spec = load(LOBBY)
    nodes = [Node(f"n{i}", 1.0) for i in range(4)]
    share = cpus_per_actor(spec, Resources.of(nodes))
    assert share <= 0.5, "both halves of an owner stand on one node"
    assert not layout(spec, Resources.of(nodes), 1).lacking
    left = lay_out(nodes[1:], 1, share, [(Need(name, share, 0), 1) for name in spec.stages])
    assert not left.lacking, "a node that is lost leaves places for all"


def test_what_is_free_is_what_others_have_left():
    ground = Ground([Node("n", 8.0, 2)], {"n": (0.6, 1.5)})
    need = Need("a", 0.25, 0.5)
    assert ground.room(need, 10) == 2
    assert Ground([Node("n", 8.0, 2)], {"n": (8.0, 1.5)}).room(need, 10) == 3
    assert Ground([Node("n", 8.0, 2)], {"n": (8.0, 1.5)}).room(need._replace(gpus=1), 10) == 1


def test_what_stands_already_counts_for_the_next():
    ground = Ground([Node(n, 8.0) for n in "abc"])
    ground.stands(["a"], {"s": ["a", "b"]})
    assert ground.replica(Need("s", 0.5, 0)).node == "c"
    assert ground.owner(0.5, near_gpus=False) == "b"


def test_what_binds_comes_first():
    nodes = [Node("a", 32.0, 2, network_bytes_s=100_000_000), Node("b", 32.0, 2)]
    found = lay_out(nodes[:1], 1, 0.5, [(Need("v", 0.5, 1), 2), (Need("w", 0.5, 0), 1)])
    rates = Rates({"v": 100.0, "w": 5000.0}, owner=900.0, lane=80.0, window_bytes=1_000_000)
    first, *others = limits(nodes[:1], found, rates, lanes=4)
    assert (first.what, first.windows_s) == ("network", 100)
    assert [(limit.what, limit.windows_s) for limit in others] == [
        ("stages.v", 200), ("Kafka partitions", 320), ("ingest", 900), ("stages.w", 5000),
    ]  # fmt: skip
    assert limits(nodes, found, Rates({}), None) == ()
