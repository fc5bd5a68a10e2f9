"""Which replicas an owner prefers among those that have as little to do."""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32


def preference(owner: str, node: str | None, nodes: Mapping[str, str | None]) -> list[str]:
    """Names of replicas, those on the owner's node first; ``nodes``: where each stands.

    Apart from that each owner has an order of its own. Owners know nothing of each other: with one
    order for all they would fill the same replicas first, and what waits there is what makes the
    slowest windows (simulated in docs/SCALING.md).
    """
    return sorted(nodes, key=lambda name: (nodes[name] != node, crc32(f"{owner}/{name}".encode())))
