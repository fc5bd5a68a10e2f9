"""How many windows a second a layout can do, and what binds first, from measured rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.scaling.ground import Node
from pipeline.scaling.layout import Layout


class Rates(NamedTuple):
    """``stages``: windows a second of one replica, decoding included, by stage.

    ``owner``: windows a second that one owner (ingest and fusion) takes through; ``lane``: of one
    lane, what a partition of each input gives; ``window_bytes``: payload of one window over all
    inputs. None: not known.
    """

    stages: Mapping[str, float]
    owner: float | None = None
    lane: float | None = None
    window_bytes: int | None = None


class Limit(NamedTuple):
    """``what`` does at most ``windows_s``; ``how`` says from what that follows."""

    what: str
    windows_s: float
    how: str


def limits(
    nodes: Sequence[Node], layout: Layout, rates: Rates, lanes: int | None
) -> tuple[Limit, ...]:
    """What is known, the one that binds first. A stage is taken to run for every window."""
    found = []
    for stage, spots in layout.replicas.items():
        rate, placed = rates.stages.get(stage), sum(spot is not None for spot in spots)
        if rate is not None:
            on_gpu = any(spot is not None and spot.gpus for spot in spots)
            how = f"{placed} replicas of {rate:.4g} each, on {'GPUs' if on_gpu else 'CPUs'}"
            found.append(Limit(f"stages.{stage}", placed * rate, how))
    owners = sum(node is not None for node in layout.owners)
    if rates.owner is not None:
        found.append(Limit("ingest", owners * rates.owner, f"{owners} owners of {rates.owner:.4g}"))
    if rates.lane is not None and lanes is not None:
        how = f"{lanes} partitions an input, of {rates.lane:.4g}"
        found.append(Limit("Kafka partitions", lanes * rates.lane, how))
    network = _network(nodes, layout, rates.window_bytes)
    if network is not None:
        found.append(network)
    return tuple(sorted(found, key=lambda limit: limit.windows_s))


def _network(nodes: Sequence[Node], layout: Layout, window_bytes: int | None) -> Limit | None:
    """Each window comes in from Kafka to an owner, and goes out again to replicas elsewhere."""
    speeds = {node.name: node.network_bytes_s for node in nodes}
    standing = [name for name in layout.owners if name is not None]
    if not window_bytes or not standing or any(speeds[name] is None for name in standing):
        return None
    away = remote_share(layout)
    busiest = min(
        (speeds[name] or 0) / (standing.count(name) / len(standing)) for name in set(standing)
    )
    # In and out are different directions: the larger of the two binds, and a copy in is as large.
    carried = window_bytes * max(1.0, away)
    how = f"{window_bytes:,} bytes a window, {away:.0%} of them on to another node"
    return Limit("network", busiest / carried, how)


def remote_share(layout: Layout) -> float:
    """Of what stages are sent, how much goes to another node, if all replicas get as much."""
    standing = [name for name in layout.owners if name is not None]
    shares = []
    for spots in layout.replicas.values():
        placed = [spot.node for spot in spots if spot is not None]
        pairs = len(standing) * len(placed)
        if pairs:
            same = sum(owner == node for owner in standing for node in placed)
            shares.append(1 - same / pairs)
    return sum(shares)
