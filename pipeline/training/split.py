"""Training, validation and held-out rows: by stream, so that figures are of new streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PARTS = ("train", "validation", "test")
SHARES = (0.6, 0.2, 0.2)

Index = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers by part; ``by`` is ``stream``, or ``time`` where there are too few streams."""

    by: str
    train: Index
    validation: Index
    test: Index


def split(streams: Sequence[str], truth: NDArray[np.intp], seed: int) -> Split:
    """Rows must be in the order of (stream, time).

    By stream: no stream is in two parts, every label is in the training part, and the parts come
    as near to 60, 20 and 20 % of each label as whole streams can (greedily, in an order that the
    seed draws). Where that leaves a part empty, or a label out of training, the split is by time
    instead: the last rows of each stream are held out.
    """
    return _by_stream(streams, truth, seed) or _by_time(streams)


def _by_stream(streams: Sequence[str], truth: NDArray[np.intp], seed: int) -> Split | None:
    names = sorted(set(streams))
    if len(names) < len(PARTS):
        return None
    number = {name: place for place, name in enumerate(names)}
    of_row = np.array([number[name] for name in streams])
    counts = np.zeros((len(names), int(truth.max()) + 1))
    np.add.at(counts, (of_row, truth), 1.0)
    order = np.random.default_rng(seed).permutation(len(names))
    placed = np.full(len(names), -1)
    for label in np.argsort(counts.sum(axis=0), kind="stable"):  # the rarest first
        if counts[placed == 0, label].sum() == 0:
            holders = [each for each in order if counts[each, label] and placed[each] < 0]
            if not holders:
                return None
            placed[holders[0]] = 0
    wanted = np.outer(SHARES, counts.sum(axis=0))
    got = np.stack([counts[placed == part].sum(axis=0) for part in range(len(PARTS))])
    for each in [name for name in order if placed[name] < 0]:
        # The part that this stream brings nearest to its shares, an empty one before all.
        costs = [
            ((wanted[part] - got[part] - counts[each]) ** 2).sum()
            - ((wanted[part] - got[part]) ** 2).sum()
            - (1e18 if part and not got[part].any() else 0.0)
            for part in range(len(PARTS))
        ]
        best = int(np.argmin(costs))
        placed[each] = best
        got[best] += counts[each]
    parts = [np.flatnonzero(placed[of_row] == part) for part in range(len(PARTS))]
    if not all(len(part) for part in parts):
        return None
    return Split("stream", *parts)


def _by_time(streams: Sequence[str]) -> Split:
    """The first 60 % of each stream's rows, the next 20 %, and the last 20 %."""
    parts: list[list[int]] = [[], [], []]
    names = np.array(streams)
    for name in sorted(set(streams)):
        rows = np.flatnonzero(names == name)
        first = max(1, round(SHARES[0] * len(rows)))
        second = max(first, round((SHARES[0] + SHARES[1]) * len(rows)))
        for part, piece in zip(parts, np.split(rows, [first, second]), strict=True):
            part += piece.tolist()
    return Split("time", *(np.array(part, np.intp) for part in parts))
