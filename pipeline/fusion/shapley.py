"""Shapley values of stages from a worth that is evaluated for many subsets in one call."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import factorial

import numpy as np
from numpy.typing import NDArray

EXACT_MAX = 6  # stages; above, permutations are sampled: 2^M evaluations a window are too many
_PERMUTATIONS = 16  # drawn, each also the other way round (antithetic)
_SEED = 0


@dataclass(frozen=True, slots=True)
class Coalitions:
    """The subsets of ``m`` stages that are asked, and what their worths make of each stage.

    ``masks`` (k, m): the first row is the empty subset, the last one all stages. ``shares``
    (m, k): Shapley values are ``shares @ worths``. Invariant: for any worths they add up to
    ``worths[-1] - worths[0]``.
    """

    masks: NDArray[np.bool_]
    shares: NDArray[np.float64]


@lru_cache(maxsize=16)
def coalitions(stages: int) -> Coalitions:
    """Exact up to ``EXACT_MAX`` stages (Shapley, 1953), else by a fixed sample of permutations.

    The sampled value is the mean marginal contribution over the permutations (Castro et al.,
    2009), each of which adds up by itself.
    """
    return _exact(stages) if stages <= EXACT_MAX else _sampled(stages)


def _exact(stages: int) -> Coalitions:
    numbers = np.arange(1 << stages)
    masks = (numbers[:, None] >> np.arange(stages)) & 1 == 1
    sizes = masks.sum(axis=1)
    chances = [factorial(s) * factorial(stages - 1 - s) / factorial(stages) for s in range(stages)]
    gained = np.array([0.0, *chances])[sizes]  # of a subset that a stage has just joined
    lost = np.array([*chances, 0.0])[sizes]  # of one that it would join
    return Coalitions(masks, np.where(masks, gained[:, None], -lost[:, None]).T.copy())


def _sampled(stages: int) -> Coalitions:
    rng = np.random.default_rng(_SEED)
    drawn = [rng.permutation(stages) for _ in range(_PERMUTATIONS)]
    orders = [order for one in drawn for order in (one, one[::-1])]
    subsets: dict[frozenset[int], int] = {frozenset(): 0}
    for order in orders:
        for size in range(1, stages):
            subsets.setdefault(frozenset(order[:size].tolist()), len(subsets))
    subsets[frozenset(range(stages))] = len(subsets)
    masks = np.zeros((len(subsets), stages), np.bool_)
    for subset, place in subsets.items():
        masks[place, sorted(subset)] = True
    shares = np.zeros((stages, len(subsets)))
    for order in orders:
        for size, stage in enumerate(order.tolist()):
            shares[stage, subsets[frozenset(order[: size + 1].tolist())]] += 1 / len(orders)
            shares[stage, subsets[frozenset(order[:size].tolist())]] -= 1 / len(orders)
    return Coalitions(masks, shares)
