"""A fusion rule of the user's, by ``package.module:Class``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InvalidInput, Problem
from pipeline.fusion.linear import Fused, Vectors
from pipeline.fusion.products import Rows
from pipeline.spec.models import FusionSpec
from pipeline.spec.user_class import build, load_class, one_line

_STAGES_MAX = 10  # the exact Shapley value asks the rule 2^n - 1 times


class UserRule:
    """Runs ``Class(stages=..., lengths=..., **options)`` and its ``fuse(vectors)``.

    ``stages``: the names in ``fusion.of``, in its order; ``lengths``: of each one's vector.
    ``fuse`` gets a dict of float32 vectors, by stage, of those that gave one (never an empty
    one), and returns a 1-D vector, or ``(vector, weights)`` with a dict of weights by stage. It
    is stateless and takes any missing stage. Without weights those of the file are in force.

    Attribution is the exact Shapley value of ⟨F(S), F⟩ / ‖F‖² over the stages (F(∅) = 0), which
    adds up to 1; for that ``fuse`` is asked about every subset of the stages that are there. A
    class with ``attribute(vectors, fused)`` gives its own instead, a dict of numbers by stage.
    """

    def __init__(self, spec: FusionSpec, lengths: Mapping[str, int], folder: Path | None) -> None:
        self._weights = dict(spec.of)
        stages = tuple(self._weights)
        cls = load_class(spec.rule, folder, "fusion.rule")
        given = {"stages": stages, "lengths": {stage: lengths[stage] for stage in stages}}
        self._rule = build(cls, spec.rule, given, spec.options, "fusion.rule", "fusion.")
        if not callable(getattr(self._rule, "fuse", None)):
            why, remedy = "it has no fuse", "define fuse(self, vectors) -> vector"
            raise InvalidInput(Problem("fusion.rule", spec.rule, why, remedy))
        self._attributes = callable(getattr(self._rule, "attribute", None))
        if len(stages) > _STAGES_MAX and not self._attributes:
            why = f"attribution over {len(stages)} stages asks it {2 ** len(stages) - 1} times"
            remedy = "define attribute(self, vectors, fused) -> {stage: share}"
            raise InvalidInput(Problem("fusion.rule", spec.rule, why, remedy))

    def fuse_many(self, windows: Sequence[Vectors]) -> list[Fused]:
        return [self._fuse(vectors) for vectors in windows]

    def _fuse(self, vectors: Vectors) -> Fused:
        there = {stage: vectors[stage] for stage in self._weights if stage in vectors}
        if not there:
            return Fused(None)
        try:
            vector, weights = self._ask(there)
            return Fused(vector, weights, self._attribution(there, vector))
        except Exception as error:
            return Fused(None, failure=one_line(error))

    def _ask(self, there: Vectors) -> tuple[Rows, dict[str, float]]:
        answer = self._rule.fuse(dict(there))
        weights: Any = {stage: self._weights[stage] for stage in there}
        if isinstance(answer, tuple):
            answer, weights = answer
        if hasattr(answer, "detach"):
            answer = answer.detach().cpu().numpy()
        vector = np.array(answer, np.float64)  # its own: the rule may use its buffer again
        if vector.ndim != 1 or not np.isfinite(vector).all():
            raise ValueError("fuse gives no finite 1-D vector")
        return vector, _numbers(weights, there)

    def _attribution(self, there: Vectors, vector: Rows) -> dict[str, float]:
        if self._attributes:
            return _numbers(self._rule.attribute(dict(there), vector.copy()), there)
        square = float(vector @ vector)
        if square == 0:
            return dict.fromkeys(there, 0.0)
        stages = tuple(there)
        worth: dict[frozenset[str], float] = {frozenset(): 0.0, frozenset(stages): 1.0}
        for count in range(1, len(stages)):
            for some in combinations(stages, count):
                part, _ = self._ask({stage: there[stage] for stage in some})
                worth[frozenset(some)] = float(part @ vector) / square
        return shapley(stages, worth)


def shapley(stages: Sequence[str], worth: Mapping[frozenset[str], float]) -> dict[str, float]:
    """Each stage's Shapley value of a worth that is known for every subset (Shapley, 1953)."""
    count = len(stages)
    values = {}
    for stage in stages:
        others = [each for each in stages if each != stage]
        value = 0.0
        for size in range(count):
            chance = math.factorial(size) * math.factorial(count - 1 - size)
            for some in combinations(others, size):
                without = frozenset(some)
                value += chance * (worth[without | {stage}] - worth[without])
        values[stage] = value / math.factorial(count)
    return values


def _numbers(given: Any, there: Vectors) -> dict[str, float]:
    """A dict of finite numbers by stage, of stages that are there; the order is theirs."""
    numbers = {str(stage): float(value) for stage, value in given.items()}
    if not all(stage in there and math.isfinite(value) for stage, value in numbers.items()):
        raise ValueError("its numbers by stage are not finite, or name a stage that gave none")
    return {stage: numbers[stage] for stage in there if stage in numbers}
