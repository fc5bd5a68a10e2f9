"""Trained heads as arithmetic on arrays: vectors of stages in, logits of labels out.

Every head has two steps. ``term`` brings the vector of one stage to a few numbers, once a
window; ``combine`` joins the terms of any subset of the stages to logits, so that the 2^M
subsets that attribution asks for cost little more than one. All in float64 on the CPU: what a
window gets depends on its own vectors alone, to the bit. Training (``pipeline.training``) may
run anywhere; it ends in these arrays.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.fusion.products import Rows, dots, log_softmax, masked_softmax, normalized, product
from pipeline.spec.sequence import SequenceShape, sequences_of

Masks = NDArray[np.bool_]
Tensors = Mapping[str, Rows]

ACTIVATIONS = ("identity", "relu", "squares", "cosine")
COMBINES = ("mean", "product")
RULES = ("weighted_sum", "concat", "gated", "attention", "late")


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """What a head is, its arrays left out.

    ``lengths`` by stage, ``weights`` by stage as they were in the file, or as trained. ``layers``
    are the activations before each of the affine maps that follow the joining. ``temperature``
    divides the logits (Guo et al., 2017). ``squares``: a stage's numbers are followed by their
    squares (Gaussian naive Bayes is linear in both). ``combine``: how ``late`` joins scores.
    ``sequences``: the stages that ``lstm`` and ``cnn`` read step by step.
    """

    kind: str
    rule: str
    labels: tuple[str, ...]
    lengths: dict[str, int]
    weights: dict[str, float]
    normalize: str = "none"
    dim: int | None = None
    temperature: float = 1.0
    layers: tuple[str, ...] = ()
    squares: bool = False
    combine: str = "mean"
    trained_weights: bool = False
    sequences: dict[str, SequenceShape] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For a card; ``HeadSpec.of`` reads it back."""
        return {name: _plain(getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> HeadSpec:
        """Raises KeyError, TypeError or ValueError where the card of a head says nonsense."""
        given = {**card, "labels": tuple(card["labels"]), "layers": tuple(card["layers"])}
        spec = cls(**given | {"sequences": sequences_of(card.get("sequences", {}))})
        if spec.rule not in RULES or spec.combine not in COMBINES or len(spec.labels) < 2:
            raise ValueError(f"rule {spec.rule}, combine {spec.combine}, {len(spec.labels)} labels")
        if not set(spec.layers) <= set(ACTIVATIONS) or spec.weights.keys() != spec.lengths.keys():
            raise ValueError(f"layers {spec.layers}, weights of {list(spec.weights)}")
        for stage, shape in spec.sequences.items():
            if shape.length != spec.lengths[stage]:
                raise ValueError(
                    f"{stage} has {spec.lengths[stage]} numbers and is read as {shape}"
                )
        return spec


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: v._asdict() if isinstance(v, SequenceShape) else v for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True)
class Joined:
    """``logits`` (n, labels), over the temperature, and the ``weights`` in force (n, m)."""

    logits: Rows
    weights: Rows


class Head(ABC):
    """A head: its stages are in the order of their names, whatever the order in a file."""

    def __init__(self, spec: HeadSpec, tensors: Tensors) -> None:
        self.spec = spec
        self.tensors = tensors
        self.stages = tuple(sorted(spec.lengths))

    @abstractmethod
    def term(self, stage: str, rows: Rows) -> Rows:
        """What a stage's vectors, shape (n, d), add: shape (n, h), which ``combine`` reads."""

    @abstractmethod
    def combine(self, stages: Sequence[str], terms: Sequence[Rows], masks: Masks) -> Joined:
        """``terms`` of ``stages``, each (n, h), where ``masks`` (n, m) has them."""

    def _affine(self, stage: str, rows: Rows, offset: bool = True) -> Rows:
        """n(f) of a stage, centred and scaled, times its matrix, plus its offset."""
        if self.spec.normalize == "l2":
            rows = normalized(rows)
        centre = self.tensors.get(f"{stage}.centre")
        if centre is not None:
            rows = (rows - centre) * self.tensors[f"{stage}.scale"]
        if self.spec.squares:
            rows = np.concatenate([rows, rows * rows], axis=1)
        found = product(rows, self.tensors[f"{stage}.matrix"])
        return found + self.tensors[f"{stage}.offset"] if offset else found

    def _layers(self, rows: Rows) -> Rows:
        for number, activation in enumerate(self.spec.layers):
            if activation == "relu":
                rows = np.maximum(rows, 0.0)
            elif activation == "squares":
                rows = np.concatenate([rows, rows * rows], axis=1)
            elif activation == "cosine":
                rows = np.cos(rows)
            matrix = self.tensors[f"layer{number}.matrix"]
            rows = product(rows, matrix) + self.tensors[f"layer{number}.offset"]
        return rows

    def _weights(self, stages: Sequence[str], masks: Masks) -> Rows:
        """Those of the file over the stages that are there, rescaled to keep their sum."""
        total = math.fsum(self.spec.weights.values())
        found = masks * np.array([self.spec.weights[stage] for stage in stages])
        there = np.zeros((len(masks), 1))
        for column in range(len(stages)):
            there += found[:, column : column + 1]
        factor = np.where(there > 0, total / np.where(there > 0, there, 1.0), 0.0)
        if len(stages) == len(self.stages):  # nothing missing: as they are, to the bit
            factor = np.where(masks.all(axis=1, keepdims=True), 1.0, factor)
        scaled: Rows = found * factor
        return scaled

    def _joined(self, logits: Rows, weights: Rows) -> Joined:
        return Joined(logits / self.spec.temperature, weights)


class SumHead(Head):
    """G(X) = h(F(X)) for ``weighted_sum`` and ``concat``: h is layers on a sum of one term a stage.

    z = b + Σ (ωᵢ · n(fᵢ) Aᵢ + cᵢ): ω is 1 for ``concat``, whose blocks have matrices of their own,
    and the weights in force for ``weighted_sum``, where Aᵢ holds the projection. cᵢ tells h that
    the stage is there.
    """

    def term(self, stage: str, rows: Rows) -> Rows:
        return self._affine(stage, rows, offset=False)

    def combine(self, stages: Sequence[str], terms: Sequence[Rows], masks: Masks) -> Joined:
        if self.spec.rule == "concat":
            weights = masks * np.array([self.spec.weights[stage] for stage in stages])
            factors = masks.astype(np.float64)
        else:
            weights = factors = self._weights(stages, masks)
        z = np.tile(self.tensors["bias"], (len(masks), 1))
        for column, (stage, term) in enumerate(zip(stages, terms, strict=True)):
            z += factors[:, column : column + 1] * term
            z += masks[:, column : column + 1] * self.tensors[f"{stage}.offset"]
        return self._joined(self._layers(z), weights)


class GatedHead(Head):
    """Weights that depend on the input (gated multimodal unit, Arevalo et al., 2017).

    tᵢ = tanh(n(fᵢ) Aᵢ + cᵢ); a gate reads tᵢ and the mean t̄ of all that is there:
    g = softmax(⟨qᵢ, tᵢ⟩ + ⟨rᵢ, t̄⟩ + sᵢ) over the stages that are there; logits = layers(Σ gᵢ tᵢ).
    """

    def term(self, stage: str, rows: Rows) -> Rows:
        t = np.tanh(self._affine(stage, rows))
        return np.concatenate([t, dots(t, self.tensors[f"{stage}.query"])[:, None]], axis=1)

    def combine(self, stages: Sequence[str], terms: Sequence[Rows], masks: Masks) -> Joined:
        width = len(self.tensors[f"{self.stages[0]}.query"])
        there = [masks[:, column : column + 1] for column in range(len(stages))]
        mean, count = np.zeros((len(masks), width)), np.zeros((len(masks), 1))
        for present, term in zip(there, terms, strict=True):
            mean += present * term[:, :width]
            count += present
        mean /= np.maximum(count, 1.0)
        scores = np.zeros(masks.shape)
        for column, (stage, term) in enumerate(zip(stages, terms, strict=True)):
            read = dots(mean, self.tensors[f"{stage}.context"])
            scores[:, column] = term[:, width] + read + self.tensors[f"{stage}.gate"][0]
        gates = masked_softmax(scores, masks)
        z = np.zeros((len(masks), width))
        for column, term in enumerate(terms):
            z += gates[:, column : column + 1] * term[:, :width]
        return self._joined(self._layers(z), gates)


class AttentionHead(Head):
    """Cross-attention over modality tokens: learned queries read one token a stage.

    eᵢ = tanh(n(fᵢ) Aᵢ + cᵢ) is the token; each of H queries has its keys and values
    (Vaswani et al., 2017; pooling by attention, Lee et al., 2019), and logits = layers of their
    answers side by side. Weights in force: the mean of the queries' attention.
    """

    def term(self, stage: str, rows: Rows) -> Rows:
        token = np.tanh(self._affine(stage, rows))
        values = product(token, self.tensors["values"])
        return np.concatenate([values, product(token, self.tensors["queries"])], axis=1)

    def combine(self, stages: Sequence[str], terms: Sequence[Rows], masks: Masks) -> Joined:
        width, queries = self.tensors["values"].shape[1], self.tensors["queries"].shape[1]
        each = width // queries
        answers = np.zeros((len(masks), width))
        weights = np.zeros(masks.shape)
        for query in range(queries):
            scores = np.zeros(masks.shape)
            for column, term in enumerate(terms):
                scores[:, column] = term[:, width + query]
            attention = masked_softmax(scores, masks)
            weights += attention / queries
            part = slice(query * each, (query + 1) * each)
            for column, term in enumerate(terms):
                answers[:, part] += attention[:, column : column + 1] * term[:, part]
        return self._joined(self._layers(answers), weights)


class LateHead(Head):
    """An expert a stage, trained alone; their scores are joined.

    pᵢ = softmax(n(fᵢ) Aᵢ + cᵢ). ``mean``: log Σ ωᵢ pᵢ / Σ ωᵢ, with the weights in force.
    ``product`` of experts: (1 - Σ wᵢ) log π + Σ wᵢ log pᵢ with the prior π and the weights as
    given, which for weights of 1 is Bayes' rule for stages that are independent given the label.
    Nothing there: log π.
    """

    def term(self, stage: str, rows: Rows) -> Rows:
        return log_softmax(self._affine(stage, rows))

    def combine(self, stages: Sequence[str], terms: Sequence[Rows], masks: Masks) -> Joined:
        prior = np.tile(self.tensors["prior"], (len(masks), 1))
        if self.spec.combine == "product":
            weights = masks * np.array([self.spec.weights[stage] for stage in stages])
            logits = prior.copy()
            for column, term in enumerate(terms):
                logits += weights[:, column : column + 1] * (term - prior)
            return self._joined(log_softmax(logits), weights)
        weights = self._weights(stages, masks)
        there = np.zeros((len(masks), 1))
        mixed = np.zeros(prior.shape)
        for column, term in enumerate(terms):
            there += weights[:, column : column + 1]
            mixed += weights[:, column : column + 1] * np.exp(term)
        shares = np.where(there > 0, mixed / np.where(there > 0, there, 1.0), np.exp(prior))
        return self._joined(np.log(np.maximum(shares, np.finfo(float).tiny)), weights)
