"""From decoded records to the samples of one window (contract section 2, ``log_mel``).

A record's sample k lies at ``ts + k / rate`` and is placed on the nearest point of the grid that
begins at the range's start. Samples that are not there are zeros; where two records give the
same sample, the first in the log wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from pipeline.media.grid import RESAMPLE_MARGIN_US, find_grid, nearest_sample
from pipeline.record import MediaRecord

__all__ = [
    "RESAMPLE_MARGIN_US",
    "AssembledAudio",
    "assemble_audio",
    "nearest_sample",
    "place",
]

Samples = NDArray[np.float32]
_Span = tuple[int, Samples]  # where it begins, and what it holds
_NOTHING: Samples = np.zeros(0, np.float32)

# A record that begins where the one before ends follows it sample by sample. Times are floored
# to microseconds, so "where" means within one; the grid's rounding would else tear a sample out
# of a stream that lies half-way between its points.
_JOIN_US = 1


class AssembledAudio(NamedTuple):
    """Float32 mono at ``rate`` Hz; the first sample is the one at ``start_us``."""

    samples: Samples
    rate: int
    start_us: int


def assemble_audio(
    records: Sequence[MediaRecord],
    decoded: Sequence[Samples],
    start_us: int,
    end_us: int,
    rate: int | None,
) -> AssembledAudio:
    """The samples of ``[start_us, end_us)``: exactly ``nearest_sample(end - start, rate)``.

    ``records`` in log order with their samples at their own rates, as ``decode_audio`` gives
    them; of a foreign rate also those that reach RESAMPLE_MARGIN_US beyond the range. ``rate``:
    the rate to give, None for the first record's (ValueError without records).
    Records of that rate are copied bit for bit; those of another are laid on a line of their own
    rate and resampled together with soxr HQ, as ``librosa.resample(res_type="soxr_hq")`` does,
    so there is no seam between them.
    """
    if rate is None:
        if not records:
            raise ValueError("no record gives the rate")
        rate = records[0].facts.rate
    count = nearest_sample(end_us - start_us, rate)
    sources = list(dict.fromkeys(record.facts.rate for record in records))
    if sources == [rate]:
        samples = np.zeros(count, np.float32)
        _paint(samples, place(records, rate, start_us), decoded)
        return AssembledAudio(samples, rate, start_us)
    # A layer for each rate; of a record that part of its layer which it covers.
    spans: list[_Span] = [(0, _NOTHING)] * len(records)
    for source in sources:
        group = [i for i, record in enumerate(records) if record.facts.rate == source]
        own = [records[i] for i in group], [decoded[i] for i in group]
        covered = _converted(*own, start_us, end_us, rate)
        for index, span in zip(group, covered, strict=True):
            spans[index] = span
    samples = np.zeros(count, np.float32)
    _paint(samples, [at for at, _ in spans], [part for _, part in spans])
    return AssembledAudio(samples, rate, start_us)


def place(records: Sequence[MediaRecord], rate: int, start_us: int) -> list[int]:
    """Where each record's first sample lies on the grid of ``rate`` that begins at ``start_us``."""
    if len(records) == 1:
        return [nearest_sample(records[0].ts_us - start_us, rate)]
    places = [0] * len(records)
    starts_us = [record.ts_us for record in records]
    follows_us: int | None = None
    at = 0
    for index in sorted(range(len(records)), key=starts_us.__getitem__):
        begins_us, record = starts_us[index], records[index]
        if follows_us is None or not -_JOIN_US <= begins_us - follows_us <= _JOIN_US:
            at = nearest_sample(begins_us - start_us, rate)
        places[index] = at
        follows_us = record.end_us
        at += record.facts.samples
    return places


def _paint(
    line: NDArray[np.float32], places: Sequence[int], parts: Sequence[NDArray[np.generic]]
) -> None:
    """Lays the parts on the line, backwards, so that the first in the log lies on top."""
    for index in range(len(parts) - 1, -1, -1):
        at, part = places[index], parts[index]
        first, last = max(at, 0), min(at + len(part), len(line))
        if first < last:
            line[first:last] = part[first - at : last - at]


def _converted(
    records: Sequence[MediaRecord],
    decoded: Sequence[Samples],
    start_us: int,
    end_us: int,
    target: int,
) -> list[_Span]:
    """What each of these records of one rate covers at ``target``, and where that begins.

    All of them are resampled as one line, zeros where none is. The filter rings into what is
    not there, but samples that are not there are zeros: a record gives the points from its
    first sample to its end, and no others.
    """
    source = records[0].facts.rate
    places = place(records, source, start_us)
    if source == target:
        return list(zip(places, decoded, strict=True))
    grid = find_grid(records, places, start_us, target)
    tail = nearest_sample(RESAMPLE_MARGIN_US, source) + 2
    line = np.zeros(grid.lead + nearest_sample(end_us - start_us, source) + tail, np.float32)
    starts = [at + grid.lead for at in places]
    _paint(line, starts, decoded)
    resampled = soxr.resample(line, source, target, quality="HQ")
    spans: list[_Span] = []
    for at, part in zip(starts, decoded, strict=True):
        first = max(-(-at * target // source), 0)  # the first point that is not before it
        last = max(-(-(at + len(part)) * target // source), 0)
        spans.append((first - grid.first, resampled[first:last]))
    return spans
