"""What a head's card tells of the vectors that it was trained on, for drift to be seen by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.fusion.drift import REMEMBERED, Reference
from pipeline.spec.models import FusionSpec
from pipeline.spec.sequence import SequenceShape
from pipeline.training.prepared import Examples, normalised_rows
from pipeline.training.split import Split

LEVEL_MIN = 0.05  # as far as if all means moved by 0.64 deviations
RUN_MIN = 20  # rows: of fewer the distance is mostly chance


def reference(
    fusion: FusionSpec,
    examples: Examples,
    parted: Split,
    streams: Sequence[str],
    sequences: Mapping[str, SequenceShape],
) -> dict[str, Any]:
    """By stage means and deviations of the training rows, and the level from which it is drift.

    The level is how far the farthest run of at most REMEMBERED rows is, of one stream of the set,
    or of held-out ones one after another: what a moment brings is of few streams, and so it
    differs from all of training without any drift. Tokens are numbers of words, whose means
    say nothing: their stages are left out.
    """
    trained = np.zeros(len(examples), np.bool_)
    trained[parted.train] = True
    found = {}
    for stage in sorted(fusion.of):
        shape, there = sequences.get(stage), examples.masks[stage]
        rows = normalised_rows(examples.vectors[stage][there], fusion)
        learned = trained[there]
        if not learned.any() or (shape is not None and shape.tokens):
            continue
        made = Reference.of_rows(rows[learned], rows.shape[1] if shape is None else shape.width)
        names = np.array(streams)[there]
        runs = [*(rows[run] for run in _runs(names)), *_cut(rows[~learned])]
        far = [made.far(made.moments(run)) for run in runs if len(run) >= RUN_MIN]
        level = max([LEVEL_MIN, *far])
        found[stage] = Reference(made.width, made.mean, made.spread, level).as_json()
    return found


def _runs(names: NDArray[Any]) -> Iterator[NDArray[np.intp]]:
    """Row numbers of one stream each; rows are in the order of (stream, time)."""
    for own in np.split(np.arange(len(names)), np.flatnonzero(names[1:] != names[:-1]) + 1):
        yield from _cut(own)


def _cut(rows: NDArray[Any]) -> list[NDArray[Any]]:
    return np.split(rows, range(REMEMBERED, len(rows), REMEMBERED))
