"""Where the samples of a range lie: grids of the source's and of the wanted rate."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.record import MediaRecord

# The filter of soxr HQ rings for some 10 ms: with this much of the stream around a range no seam
# is heard. The caller passes the records that reach so far beyond it.
RESAMPLE_MARGIN_US = 50_000


class Grid(NamedTuple):
    """Resampling begins ``lead`` source samples before the range; ``first`` is the output
    sample nearest to the range's start."""

    lead: int
    first: int


def nearest_sample(time_us: int, rate: int) -> int:
    """The grid point nearest to a time: ``floor(time * rate + 1/2)``, in whole numbers."""
    return (2 * time_us * rate + 1_000_000) // 2_000_000


@functools.lru_cache(maxsize=1024)
def samples_in(length_us: int, rate: int) -> int:
    """How many samples a range of this length has. Windows have few lengths, so it is kept."""
    return nearest_sample(length_us, rate)


def scaled(at: int, source: int, target: int) -> int:
    """The point of the target's grid nearest to one of the source's; both begin together."""
    return (2 * at * target + source) // (2 * source)


def find_grid(
    records: Sequence[MediaRecord], places: Sequence[int], start_us: int, target: int
) -> Grid:
    """The grid on which resampling a range gives what resampling the whole stream would.

    One output sample in every ``source / gcd(source, target)`` source samples falls on a source
    sample, and resampling the whole stream puts it on the stream's first. Records whose lengths
    are multiples of that (all of 10 ms at the usual rates) begin on such samples too; where all
    beginnings agree, the grid is theirs. Where they do not, the records do not tell the stream's
    grid, and the output begins on the source sample nearest to the range's start.

    ``places``: the records' first samples on the source grid that begins at ``start_us``.
    """
    source = records[0].facts.rate
    earliest = min(range(len(records)), key=lambda i: records[i].ts_us)
    anchor_us = records[earliest].ts_us
    if _agree([record.ts_us - anchor_us for record in records], target):
        anchor_at = places[earliest]
    else:
        anchor_us, anchor_at = start_us, 0
    period = source // math.gcd(source, target)
    lead = _lead(anchor_at % period, source, target)
    first = scaled(anchor_at + lead, source, target) + nearest_sample(start_us - anchor_us, target)
    return Grid(lead, first)


def _agree(distances_us: Sequence[int], target: int) -> bool:
    """Whether all lie on one grid of the target's rate, as exactly as floored times tell it."""
    slack = target  # one microsecond, in millionths of a sample
    if slack > 250_000:
        return False  # a sample lasts less than 4 us: the times are too coarse to tell
    rests = [distance * target % 1_000_000 for distance in distances_us]
    return all(min(rest, 1_000_000 - rest) <= slack for rest in rests)


@functools.lru_cache(maxsize=1024)
def _lead(anchor_at: int, source: int, target: int) -> int:
    """How many source samples to resample before the range.

    From there to the anchor the output must count a whole number of samples. Within the second
    half of the margin the longest such lead is taken, or the nearest to one.
    """
    longest = RESAMPLE_MARGIN_US * source // 1_000_000
    lead = longest - (longest + anchor_at) % (source // math.gcd(source, target))
    if lead > longest // 2:
        return lead
    leads = np.arange(longest, longest // 2 - 1, -1, dtype=np.int64)
    rests = (leads + anchor_at) * target % source
    return int(leads[np.argmin(np.minimum(rests, source - rests))])
