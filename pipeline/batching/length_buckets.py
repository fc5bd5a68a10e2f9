"""Items of unequal lengths for a network that computes what fills them up, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Bucket(NamedTuple):
    """``places`` of the items that are filled up to ``length``, the longest of them first."""

    length: int
    places: list[int]


def length_buckets(lengths: Sequence[int], padding_max: float, items_max: int) -> list[Bucket]:
    """Every item in one bucket, neighbours in length together, longest first.

    In each bucket at most ``padding_max`` (a share below 1) of the length times the items is
    padding, and there are at most ``items_max`` items. From the longest on a bucket takes what is
    next as long as both hold: a call of the network has a price of its own, so few large buckets
    are better than many exact ones. Lengths are 1 or more; equal ones keep their order.
    """
    buckets: list[Bucket] = []
    filled = 0  # what the items of the last bucket have themselves
    for place in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if buckets:
            length, places = buckets[-1]
            computed = length * (len(places) + 1)
            fits = computed - filled - lengths[place] <= padding_max * computed
            if fits and len(places) < items_max:
                places.append(place)
                filled += lengths[place]
                continue
        buckets.append(Bucket(lengths[place], [place]))
        filled = lengths[place]
    return buckets
