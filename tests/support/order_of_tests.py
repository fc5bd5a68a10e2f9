"""The order of the test files, and who of several workers runs which of them.

What needs Ray waits most of its time, and two clusters side by side hold each other up: one worker
takes all of that, file after file, and the others the rest: files with long tests first, which
are marked ``early``, then files of many tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

SHARED_RAY, OWN_RAY, NO_RAY = range(3)


def ranks(items: Iterable[pytest.Item]) -> dict[Path, int]:
    """By file, which Ray its tests need: the one that all share, nodes of their own, or none."""
    found: dict[Path, int] = {}
    for item in items:
        rank = NO_RAY
        if "ray_address" in getattr(item, "fixturenames", ()):
            rank = SHARED_RAY
        elif item.get_closest_marker("ray"):
            rank = OWN_RAY
        found[item.path] = min(rank, found.get(item.path, NO_RAY))
    return found


def order(items: list[pytest.Item], of_a_worker: bool) -> None:
    """Sorts by file. A process joins one Ray: who shares it comes before who has its own.

    Of a worker what needs Ray comes first, since it takes longest; else it comes last.
    """
    rank, count = ranks(items), Counter(item.path for item in items)
    early = {item.path for item in items if item.get_closest_marker("early")}

    def place(item: pytest.Item) -> tuple[bool, int, bool, int]:
        its = rank[item.path]
        if its != NO_RAY:
            return not of_a_worker, its, False, 0
        late = of_a_worker and item.path not in early
        return of_a_worker, its, late, -count[item.path] if of_a_worker else 0

    items.sort(key=place)


def one_ray(config: pytest.Config, log: object) -> object | None:
    """xdist's distribution by file, with all that needs Ray taken for one file; None: another's."""
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class OneRay(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            scope = super()._split_scope(nodeid)
            return "ray" if scope.startswith(("tests/cluster/", "tests/faults/")) else scope

    config.option.loadscopereorder = False  # the order is that of the collection
    return OneRay(config, log)
