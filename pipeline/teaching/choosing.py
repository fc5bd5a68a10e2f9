"""Which windows to ask about next: those whose label teaches the most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def margin(scores: Mapping[str, float]) -> float:
    """How much likelier the first label is than the second, in [0, 1]; 1 where there is one."""
    first, second = sorted([*scores.values(), 0.0, 0.0], reverse=True)[:2]
    return float(first - second)


def least_sure(margins: Sequence[float], count: int) -> list[int]:
    """Places of the ``count`` smallest margins, the smallest first; of equals the first."""
    return [int(at) for at in np.argsort(np.asarray(margins), kind="stable")[:count]]


def farthest_first(
    points: Floats,
    streams: Sequence[str],
    known: Floats,
    asked: Mapping[str, int],
    count: int,
) -> list[int]:
    """Places of ``count`` points that are spread over streams, and within them over space.

    Each next one is of a stream of which the fewest were chosen or asked for; of those, the one
    that is the farthest from every chosen and every known point (Gonzalez, 1985); of equals the
    first. ``points`` (n, d), ``known`` (m, d); ``asked``: how many of each stream have a label.
    """
    names = {stream: at for at, stream in enumerate(dict.fromkeys(streams))}
    of = np.array([names[stream] for stream in streams], np.intp)
    had = np.array([asked.get(stream, 0) for stream in names], np.intp)
    nearest = np.full(len(points), np.inf)
    if len(known):
        nearest = _distances(points, known).min(axis=1)
    left = np.ones(len(points), np.bool_)
    chosen: list[int] = []
    for _ in range(min(count, len(points))):
        fewest = left & (had[of] == had[of[left]].min())
        best = int(np.argmax(np.where(fewest, nearest, -1.0)))
        chosen.append(best)
        left[best] = False
        had[of[best]] += 1
        nearest = np.minimum(nearest, _distances(points, points[best : best + 1])[:, 0])
    return chosen


def _distances(points: Floats, others: Floats) -> NDArray[np.float64]:
    """(n, m) squared Euclidean distances."""
    left, right = points.astype(np.float64), others.astype(np.float64)
    lengths = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :]
    found: NDArray[np.float64] = np.maximum(lengths - 2.0 * left @ right.T, 0.0)
    return found
