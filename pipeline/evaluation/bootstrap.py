"""Confidence intervals by resampling whole streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SAMPLES = 2_000
SEED = 0


class Interval(NamedTuple):
    """The middle 95 % of a figure over resampled streams; None where one stream is all there is."""

    low: float
    high: float


def ratio_interval(
    parts: Sequence[float], wholes: Sequence[float], groups: Sequence[str]
) -> Interval | None:
    """Of sum(parts) / sum(wholes), streams drawn with replacement (cluster bootstrap).

    Windows of a stream are alike, so they are drawn together: drawn one by one they would make
    every figure look surer than it is (Field and Welsh, 2007). The same rows give the same
    interval.
    """
    names, places = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        return None
    part = np.bincount(places, np.asarray(parts, np.float64), len(names))
    whole = np.bincount(places, np.asarray(wholes, np.float64), len(names))
    drawn = np.random.default_rng(SEED).integers(0, len(names), (SAMPLES, len(names)))
    sums = whole[drawn].sum(axis=1)
    ratios = part[drawn].sum(axis=1)[sums > 0] / sums[sums > 0]
    if not len(ratios):
        return None
    low, high = np.quantile(ratios, (0.025, 0.975))
    return Interval(float(low), float(high))
