"""Fusion without training: F(X) = Σ wᵢ · P · n(fᵢ(X)), and concatenation (contract, Fusion).

f are the vectors of the stages that gave one, n the normalising (n(0) = 0), P the identity where
all stages have one length and no ``dim`` is given, else a fixed random projection. All sums are
float64.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InvalidInput
from pipeline.fusion.products import Rows, dots, normalized, product
from pipeline.spec.models import FusionSpec
from pipeline.spec.vector_lengths import unequal_lengths

Vectors = Mapping[str, NDArray[np.floating]]


@dataclass(slots=True)  # frozen it would take four times as long to make
class Fused:
    """One window's fusion. ``vector`` is float64, shape (d,), None where no stage gave a vector.

    ``weights`` are those in force, ``attribution`` each stage's share of the result (sum 1, or 0
    where F = 0); both by stage, of the stages that were there. Windows that have the same stages
    may share one map of weights. ``failure`` says why there is no vector though some stage gave
    one.

    With a trained head there are ``scores``, probabilities by label, in place of the vector (empty
    where no stage gave one), ``label`` is the likeliest or None where it abstains, and
    ``attribution`` adds up to the label's logit less that of the empty window.
    """

    vector: Rows | None
    weights: Mapping[str, float] = field(default_factory=dict)
    attribution: dict[str, float] = field(default_factory=dict)
    failure: str | None = None
    label: str | None = None
    scores: dict[str, float] | None = None


def projection(stage: str, dim: int, length: int) -> Rows:
    """P of a stage, shape (dim, length): the contract's fixed matrix, by the stage's name."""
    rng = np.random.default_rng(zlib.crc32(stage.encode("utf-8")))
    matrix: Rows = rng.standard_normal((dim, length)) / np.sqrt(dim)
    return matrix


class LinearRule:
    """``weighted_sum`` and ``concat``: both are a sum of one term a stage.

    A term is what a stage adds to F: wᵢ · P · n(fᵢ), or its block n(fᵢ) among zeros. Its share
    ⟨termᵢ, F⟩ / ‖F‖² is its Shapley value in that sum.
    """

    def __init__(self, spec: FusionSpec, lengths: Mapping[str, int]) -> None:
        self._weights = dict(spec.of)
        self._total = math.fsum(self._weights.values())
        self._lengths = {stage: lengths[stage] for stage in self._weights}
        self._l2 = spec.normalize == "l2"
        self._blocks: dict[str, slice] | None = None
        self._projections: dict[str, Rows | None] = dict.fromkeys(self._weights)
        if spec.rule == "concat":
            ends = np.cumsum(list(self._lengths.values())).tolist()
            self._blocks = {
                stage: slice(end - self._lengths[stage], end)
                for stage, end in zip(self._weights, ends, strict=True)
            }
            self.length = int(ends[-1])
            return
        unequal = unequal_lengths(spec, lengths)
        if unequal is not None:
            raise InvalidInput(unequal)
        self.length = next(iter(self._lengths.values())) if spec.dim is None else spec.dim
        if spec.dim is not None:
            # transposed and contiguous: the right-hand side of a product with rows
            self._projections = {
                stage: np.ascontiguousarray(projection(stage, spec.dim, length).T)
                for stage, length in self._lengths.items()
            }

    def fuse_many(self, windows: Sequence[Vectors]) -> list[Fused]:
        """All windows that have the same stages are computed together."""
        alike: dict[tuple[str, ...], list[int]] = {}
        for index, vectors in enumerate(windows):
            there = tuple(filter(vectors.__contains__, self._weights))
            alike.setdefault(there, []).append(index)
        if len(alike) == 1:
            [there] = alike
            return self._fuse_alike(there, windows)
        fused: dict[int, Fused] = {}
        for there, indexes in alike.items():
            found = self._fuse_alike(there, [windows[index] for index in indexes])
            fused |= zip(indexes, found, strict=True)
        return [fused[index] for index in range(len(windows))]

    def _fuse_alike(self, there: tuple[str, ...], windows: Sequence[Vectors]) -> list[Fused]:
        if not there:
            return [Fused(None) for _ in windows]
        weights = self._weights_in_force(there)
        total = np.zeros((len(windows), self.length))
        terms: dict[str, Rows] = {}
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is told as a failure
            for stage in there:
                rows = np.array([vectors[stage] for vectors in windows], np.float64)
                terms[stage] = self._term(stage, rows, weights[stage])
                total[:, self._block(stage)] += terms[stage]
            squares = dots(total, total)
            whole = np.where(squares > 0, squares, 1.0)  # F = 0: all shares are 0
            shares = [dots(terms[each], total[:, self._block(each)]) / whole for each in there]
        by_window = np.stack(shares, axis=1).tolist()
        finite = np.isfinite(squares).tolist()
        return [
            Fused(vector, weights, dict(zip(there, each, strict=True)))
            if sound
            else Fused(None, failure="the fused vector is not finite")
            for vector, each, sound in zip(total, by_window, finite, strict=True)
        ]

    def _weights_in_force(self, there: tuple[str, ...]) -> dict[str, float]:
        if self._blocks is not None:
            return {stage: self._weights[stage] for stage in there}
        if len(there) == len(self._weights):
            return dict(self._weights)
        factor = self._total / math.fsum(self._weights[stage] for stage in there)
        return {stage: self._weights[stage] * factor for stage in there}

    def _block(self, stage: str) -> slice:
        return slice(None) if self._blocks is None else self._blocks[stage]

    def _term(self, stage: str, rows: Rows, weight: float) -> Rows:
        """The term of one stage for every window, shape (windows, length of its part of F)."""
        if self._l2:
            rows = normalized(rows)
        matrix = self._projections[stage]
        if matrix is not None:
            rows = product(rows, matrix)
        return rows if self._blocks is not None else weight * rows
