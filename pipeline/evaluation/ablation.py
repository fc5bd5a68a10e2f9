"""A head on an exported set: how good it is, and what each stage is worth to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InvalidInput, Problem
from pipeline.evaluation.bootstrap import ratio_interval
from pipeline.evaluation.served import area_under_curve
from pipeline.fusion.head_files import LoadedHead
from pipeline.fusion.head_rule import HeadRule
from pipeline.fusion.products import log_softmax
from pipeline.training.feature_set import FeatureSet
from pipeline.training.metrics import scored

ALL_SUBSETS_MAX = 5  # stages; with more only each alone, and all but each
NOISE_LEVELS = (0.0, 0.5, 1.0, 2.0)
SEED = 0

Floats = NDArray[np.float64]
Masks = Mapping[str, NDArray[np.bool_]]


class HeadOnSet:
    """A head, and the labelled rows of a set that it knows the label of.

    Raises InvalidInput where no row is left.
    """

    def __init__(self, head: LoadedHead, data: FeatureSet, key: str) -> None:
        self._rule = HeadRule(head.spec, head.tensors)
        self.labels = list(head.spec.labels)
        self.stages = sorted(head.spec.lengths)
        known = [at for at, label in enumerate(data.labels) if label in self.labels]
        self.unknown = sum(label is not None for label in data.labels) - len(known)
        if not known:
            why = f"no row has a label that the head knows ({', '.join(self.labels)})"
            raise InvalidInput(Problem(key, "", why, "label windows with these, or train it again"))
        self._data = data.taken(np.array(known, np.intp))
        self._truth = np.array([self.labels.index(str(n)) for n in self._data.labels], np.intp)

    def report(self) -> dict[str, Any]:
        """All rows, then without stages, then with noise on them."""
        scores = self._scores(self._data.vectors, self._masks(self.stages))
        right = (scores.argmax(axis=1) == self._truth).astype(float)
        streams = list(self._data.streams)
        return {
            "labels": self.labels,
            "streams": len(set(streams)),
            "unknown_labels": self.unknown,
            **scored(self._truth, scores),
            "accuracy_interval": ratio_interval(list(right), [1.0] * len(right), streams),
            "auc": area_under_curve(self._truth, scores),
            "subsets": [self._subset(stages) for stages in self._subsets()],
            "noise": [self._noisy(stage) for stage in [None, *self.stages]],
        }

    def _subsets(self) -> list[tuple[str, ...]]:
        """The largest first; the empty one is what the head thinks of nothing."""
        count = len(self.stages)
        sizes = range(count, -1, -1) if count <= ALL_SUBSETS_MAX else (count, count - 1, 1, 0)
        return [subset for size in sizes for subset in combinations(self.stages, size)]

    def _subset(self, stages: Sequence[str]) -> dict[str, Any]:
        scores = self._scores(self._data.vectors, self._masks(stages))
        return {"stages": list(stages), **self._accuracy(scores)}

    def _noisy(self, noisy: str | None) -> dict[str, Any]:
        """Gaussian noise on one stage's vectors, or on all: in units of each number's spread."""
        rng = np.random.default_rng(SEED)
        accuracies = []
        for level in NOISE_LEVELS:
            vectors = dict(self._data.vectors)
            for stage in self.stages if noisy is None else [noisy]:
                clean = self._data.vectors[stage]
                there = clean[self._data.there[stage]]
                spread = there.std(axis=0) if len(there) else 0.0
                noise = level * spread * rng.standard_normal(clean.shape)
                vectors[stage] = (clean + noise).astype(np.float32)
            scores = self._scores(vectors, self._masks(self.stages))
            accuracies.append(self._accuracy(scores)["accuracy"])
        return {"stage": noisy, "levels": list(NOISE_LEVELS), "accuracy": accuracies}

    def _masks(self, stages: Sequence[str]) -> Masks:
        nothing = np.zeros(len(self._data), np.bool_)
        return {s: self._data.there[s] if s in stages else nothing for s in self.stages}

    def _scores(self, vectors: Mapping[str, NDArray[Any]], masks: Masks) -> Floats:
        scores: Floats = np.exp(log_softmax(self._rule.logits(vectors, masks)))
        return scores

    def _accuracy(self, scores: Floats) -> dict[str, Any]:
        right = (scores.argmax(axis=1) == self._truth).astype(float)
        interval = ratio_interval(list(right), [1.0] * len(right), list(self._data.streams))
        return {"accuracy": float(right.mean()), "interval": interval}
