"""What is to be learned, what came of it, and how scores are calibrated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.fusion.head_rule import HeadRule
from pipeline.fusion.heads import HeadSpec
from pipeline.fusion.products import log_softmax
from pipeline.spec.models import FusionSpec
from pipeline.spec.sequence import SequenceShape
from pipeline.training.options import TrainOptions, rule_of
from pipeline.training.prepared import Examples, Standard, normalised_rows

if TYPE_CHECKING:
    from pipeline.fusion.head_files import LoadedHead
    from pipeline.training.fitting import Curve

Floats = NDArray[np.float64]
UNITS = ("centre", "scale")
TEMPERATURE_MIN, TEMPERATURE_MAX = 0.01, 100.0


@dataclass(frozen=True, eq=False)
class Fitted:
    """A head with its arrays; ``curve`` where it was trained by gradients.

    ``tried`` says by what it differs from others that were fitted beside it.
    """

    spec: HeadSpec
    tensors: dict[str, Floats]
    curve: Curve | None = None
    tried: Mapping[str, object] = field(default_factory=dict)

    def scores(self, examples: Examples) -> Floats:
        """Probabilities (n, labels), as a pipeline would give them."""
        logits = HeadRule(self.spec, self.tensors).logits(examples.vectors, examples.masks)
        return np.exp(log_softmax(logits))


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be learned, for any family. ``sequences``: what is read step by step.

    ``start``: a head of the same kind and features, which it begins with.
    """

    fusion: FusionSpec
    lengths: Mapping[str, int]
    labels: tuple[str, ...]
    train: Examples
    validation: Examples
    options: TrainOptions
    sequences: Mapping[str, SequenceShape] = field(default_factory=dict)
    start: LoadedHead | None = None
    device: str = "cpu"
    progress: Callable[[float], None] = field(default=lambda _share: None)

    @property
    def stages(self) -> list[str]:
        return sorted(self.lengths)

    def spec(self, **more: object) -> HeadSpec:
        weights = {stage: self.fusion.of[stage] for stage in self.stages}
        rule, dim = self.fusion.rule, self.fusion.dim
        given = HeadSpec(
            kind=self.options.kind,
            rule=rule,
            labels=self.labels,
            lengths={stage: self.lengths[stage] for stage in self.stages},
            weights=weights,
            normalize=self.fusion.normalize,
            dim=dim if rule == "weighted_sum" else None,
            sequences=dict(self.sequences),
        )
        return replace(given, **more)  # type: ignore[arg-type]

    def standards(self) -> dict[str, Standard]:
        """Of n(f) of each stage, over the training rows that have it; of a sequence a step's."""
        found = {}
        for stage in self.stages:
            rows = self.train.vectors[stage][self.train.masks[stage]]
            shape = self.sequences.get(stage)
            if shape is not None and shape.tokens:
                found[stage] = Standard.none()
                continue
            if self.start is not None:  # its arrays read numbers in these units
                found[stage] = Standard(*(self.start.tensors[f"{stage}.{n}"] for n in UNITS))
                continue
            width = rows.shape[1] if shape is None else shape.width
            found[stage] = Standard.of(normalised_rows(rows, self.fusion).reshape(-1, width))
        return found


def fusion_for(fusion: FusionSpec, kind: str) -> FusionSpec:
    """The fusion of the file with the rule that the head is for."""
    rule = rule_of(kind, fusion.rule)
    if rule == fusion.rule:
        return fusion
    if "normalize" in fusion.model_fields_set:
        return FusionSpec(rule=rule, of=fusion.of, normalize=fusion.normalize)
    return FusionSpec(rule=rule, of=fusion.of)


def temperature(logits: Floats, truth: NDArray[np.intp]) -> tuple[float, float]:
    """The T that makes softmax(logits / T) likeliest (Guo et al., 2017), and the loss with it.

    Rows that are all right would take T to 0, and scores to 1: so what is true counts as true in
    n + 1 of n + 2 cases (as in Platt, 1999). 1 and no loss where there are no rows.
    """
    if not len(truth):
        return 1.0, 0.0
    from scipy.optimize import minimize_scalar

    doubt = 1.0 / (len(truth) + 2)
    targets = np.full(logits.shape, doubt / (logits.shape[1] - 1))
    targets[np.arange(len(truth)), truth] = 1.0 - doubt

    def loss(log_t: float) -> float:
        return float(-(targets * log_softmax(logits / np.exp(log_t))).sum(axis=1).mean())

    bounds = (np.log(TEMPERATURE_MIN), np.log(TEMPERATURE_MAX))
    found = minimize_scalar(loss, bounds=bounds, method="bounded")
    return float(np.exp(found.x)), float(found.fun)
