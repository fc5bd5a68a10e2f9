"""A whole run on nodes: each owner and each replica with its node, and what finds no place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.scaling.ground import Ground, Need, Node, Spot


class Layout(NamedTuple):
    """``owners``: the node of each (None: no place). ``replicas``: by stage, one entry each.

    ``lacking``: by what finds no place ("owner", or a stage), how many, and why.
    """

    owners: tuple[str | None, ...]
    replicas: dict[str, tuple[Spot | None, ...]]
    lacking: dict[str, tuple[int, str]]

    def on(self, node: str) -> dict[str, int]:
        """What stands on a node: owners under ``""``, replicas by stage."""
        found = {"": self.owners.count(node)}
        for stage, spots in self.replicas.items():
            found[stage] = sum(1 for spot in spots if spot is not None and spot.node == node)
        return {what: number for what, number in found.items() if number}


def lay_out(
    nodes: Sequence[Node],
    owners: int,
    owner_cpus: float,
    needs: Sequence[tuple[Need, int]],
    free: Mapping[str, tuple[float, float]] | None = None,
) -> Layout:
    """Owners first, then replicas, those that take most of a GPU before others.

    ``owner_cpus``: of each of an owner's two actors. ``needs``: a replica's, and how many.
    ``free``: by node, CPUs and GPUs that are left; without it nothing is taken.
    """
    near = any(need.gpus for need, _ in needs)
    first = _lay_out(nodes, owners, owner_cpus, needs, free, near)
    if not first.lacking or not near:
        return first
    # CPUs of the nodes with GPUs may be too few for both.
    second = _lay_out(nodes, owners, owner_cpus, needs, free, False)
    return min(first, second, key=lambda layout: sum(n for n, _ in layout.lacking.values()))


def _lay_out(
    nodes: Sequence[Node],
    owners: int,
    owner_cpus: float,
    needs: Sequence[tuple[Need, int]],
    free: Mapping[str, tuple[float, float]] | None,
    near: bool,
) -> Layout:
    ground = Ground(nodes, free)
    lacking: dict[str, tuple[int, str]] = {}
    placed = tuple(ground.owner(owner_cpus, near_gpus=near) for _ in range(owners))
    if None in placed:
        why = f"no node has {2 * owner_cpus:g} CPUs left for its two actors"
        lacking["owner"] = placed.count(None), why
    spots: dict[str, list[Spot | None]] = {need.stage: [] for need, _ in needs}
    order = sorted(needs, key=lambda entry: (-entry[0].gpus, -(entry[0].gpu_memory_bytes or 0)))
    # One of each in turn: where places run out, no stage has all and another none.
    for turn in range(max((count for _, count in needs), default=0)):
        for need, count in order:
            if turn < count:
                spots[need.stage].append(ground.replica(need))
    for need, _ in needs:
        missing = spots[need.stage].count(None)
        if missing:
            lacking[need.stage] = missing, ground.lack(need)
    return Layout(placed, {stage: tuple(found) for stage, found in spots.items()}, lacking)
