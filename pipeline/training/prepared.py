"""A training set as the numbers that heads are fitted on: normalised, standardised, split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InvalidInput, Problem
from pipeline.fusion.linear import projection
from pipeline.fusion.products import normalized
from pipeline.spec.models import FusionSpec
from pipeline.training.feature_set import FeatureSet

Floats = NDArray[np.float64]
ROWS_MIN = 10


@dataclass(frozen=True, eq=False)
class Examples:
    """``vectors`` (n, d) as the stages gave them and ``masks`` (n,), by stage; ``truth`` (n,)."""

    vectors: Mapping[str, Floats]
    masks: Mapping[str, NDArray[np.bool_]]
    truth: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.truth)

    def taken(self, rows: NDArray[Any]) -> Examples:
        return Examples(
            {stage: array[rows] for stage, array in self.vectors.items()},
            {stage: array[rows] for stage, array in self.masks.items()},
            self.truth[rows],
        )

    def masked(self, hidden: Mapping[str, NDArray[np.bool_]]) -> Examples:
        """The same rows without the stages that ``hidden`` names, row by row."""
        masks = {s: mask & ~hidden[s] if s in hidden else mask for s, mask in self.masks.items()}
        return replace(self, masks=masks)

    def mask_matrix(self) -> NDArray[np.bool_]:
        """Shape (n, stages), columns by stage name."""
        return np.stack([self.masks[stage] for stage in sorted(self.masks)], axis=1)


@dataclass(frozen=True, eq=False)
class Standard:
    """x̂ = (n(f) - centre) · scale, fitted on training rows; a number that never varies is left out.

    Numbers that hardly vary beside their size would be noise blown up: their scale is 0.
    """

    centre: Floats
    scale: Floats

    @classmethod
    def of(cls, rows: Floats) -> Standard:
        if not len(rows):
            width = rows.shape[1]
            return cls(np.zeros(width), np.zeros(width))
        centre, spread = rows.mean(axis=0), rows.std(axis=0)
        varies = spread > 1e-6 * (np.abs(centre) + 1e-6)
        return cls(centre, np.where(varies, 1.0 / np.where(varies, spread, 1.0), 0.0))

    @classmethod
    def none(cls) -> Standard:
        """Leaves numbers as they are: those of tokens."""
        return cls(np.zeros(1), np.ones(1))

    def applied(self, rows: Floats) -> Floats:
        """To rows as they were fitted on, or to several of them side by side."""
        each = rows.reshape(-1, len(self.centre))
        found: Floats = ((each - self.centre) * self.scale).reshape(rows.shape)
        return found


def examples_of(data: FeatureSet, labels: tuple[str, ...]) -> Examples:
    """The rows of a set that have one of the labels and at least one vector."""
    number = {label: place for place, label in enumerate(labels)}
    return Examples(
        {stage: array.astype(np.float64) for stage, array in data.vectors.items()},
        dict(data.there),
        np.array([number[label] for label in data.labels if label is not None], np.intp),
    )


def usable(data: FeatureSet, key: str) -> FeatureSet:
    """The rows to learn from; raises InvalidInput where they are too few, or of one label only."""
    any_there = np.any(list(data.there.values()), axis=0)
    kept = [at for at, label in enumerate(data.labels) if label is not None and any_there[at]]
    data = data.taken(np.array(kept, np.intp))
    labels = sorted({str(label) for label in data.labels})
    remedy = "label more windows: `motet export` says how many it found"
    if len(data) < ROWS_MIN:
        why = f"{len(data)} windows have a label and a vector, and {ROWS_MIN} are the least"
        raise InvalidInput(Problem(key, "", why, remedy))
    if len(labels) < 2:
        why = f"all windows have the label {labels[0]}, so there is nothing to tell apart"
        raise InvalidInput(Problem(key, "", why, remedy))
    return data


def normalised_rows(rows: Floats, fusion: FusionSpec) -> Floats:
    return normalized(rows) if fusion.normalize == "l2" else rows


def projections(fusion: FusionSpec, lengths: Mapping[str, int]) -> dict[str, Floats]:
    """By stage Pᵀ, shape (d, dim), of a ``weighted_sum``."""
    if fusion.dim is None:
        return {stage: np.eye(length) for stage, length in lengths.items()}
    return {stage: projection(stage, fusion.dim, length).T for stage, length in lengths.items()}
