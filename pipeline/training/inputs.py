"""What heads are fitted on: blocks of stages, or F, with the arrays that bring a vector there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.training.prepared import Examples, Standard, normalised_rows, projections
from pipeline.training.task import Task

Floats = NDArray[np.float64]


def blocks(task: Task, examples: Examples, standards: Mapping[str, Standard]) -> dict[str, Floats]:
    """x̂ by stage, zeros where it is not there."""
    found = {}
    for stage in task.stages:
        rows = standards[stage].applied(normalised_rows(examples.vectors[stage], task.fusion))
        found[stage] = rows * examples.masks[stage][:, None]
    return found


@dataclass(frozen=True, eq=False)
class Projected:
    """``weighted_sum``: the projections, and F standardised over the training rows."""

    matrices: Mapping[str, Floats]
    standard: Standard

    @classmethod
    def of(cls, task: Task) -> Projected:
        matrices = projections(task.fusion, {s: task.lengths[s] for s in task.stages})
        return cls(matrices, Standard.of(fused(task, task.train, matrices)))

    def stage_matrices(self, map_: Floats) -> dict[str, Floats]:
        """By stage the map of n(f) that a map of F (dim, h) comes to: Pᵀ · map."""
        return {f"{stage}.matrix": matrix @ map_ for stage, matrix in self.matrices.items()}


def fused(task: Task, examples: Examples, matrices: Mapping[str, Floats]) -> Floats:
    """F = Σ ωᵢ P n(fᵢ), shape (n, dim), with the file's weights in force."""
    weights = np.array([task.fusion.of[stage] for stage in task.stages])
    masks = examples.mask_matrix()
    there = (masks * weights).sum(axis=1, keepdims=True)
    factors = masks * weights * weights.sum() / np.where(there > 0, there, 1.0)
    total = np.zeros((len(examples), next(iter(matrices.values())).shape[1]))
    for column, stage in enumerate(task.stages):
        rows = normalised_rows(examples.vectors[stage], task.fusion) @ matrices[stage]
        total += factors[:, column : column + 1] * rows
    return total


def standard_arrays(stage: str, standard: Standard) -> dict[str, Floats]:
    return {f"{stage}.centre": standard.centre, f"{stage}.scale": standard.scale}
