"""Heads fitted on some rows of a set and measured on others, by the project's own training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.ablation import HeadOnSet
from pipeline.evaluation.bootstrap import ratio_interval
from pipeline.fusion.head_files import LoadedHead
from pipeline.spec.models import FusionSpec
from pipeline.training.feature_set import FeatureSet
from pipeline.training.options import TrainOptions
from pipeline.training.prepared import examples_of
from pipeline.training.recipe import fit
from pipeline.training.task import Task, fusion_for

Rows = NDArray[np.intp]


def folds(groups: Sequence[str], labels: Sequence[str], count: int, seed: int) -> list[Rows]:
    """Rows by fold: a group (an object, a voice) is in one fold, each label spread over all.

    ``labels`` by row; a group has one label.
    """
    rng = np.random.default_rng(seed)
    label_of = dict(zip(groups, labels, strict=True))
    fold_of: dict[str, int] = {}
    for label in sorted(set(labels)):
        members = sorted(group for group, each in label_of.items() if each == label)
        first = int(rng.integers(count))
        for place, number in enumerate(rng.permutation(len(members))):
            fold_of[members[number]] = (first + place) % count
    numbers = np.array([fold_of[group] for group in groups])
    return [np.flatnonzero(numbers == fold) for fold in range(count)]


def of_stages(data: FeatureSet, stages: Iterable[str]) -> FeatureSet:
    """The set without its other stages."""
    kept = list(stages)
    return replace(
        data,
        vectors={stage: data.vectors[stage] for stage in kept},
        there={stage: data.there[stage] for stage in kept},
    )


def fitted_head(
    data: FeatureSet, train: Rows, validation: Rows, options: TrainOptions
) -> LoadedHead:
    """Of all stages of the set, as ``motet train`` fits one; it has no card and no name."""
    labels = tuple(sorted({str(label) for label in data.labels}))
    examples = examples_of(data, labels)
    fusion = FusionSpec(rule="concat", of=dict.fromkeys(data.vectors, 1.0))
    task = Task(
        fusion_for(fusion, options.kind),
        data.lengths,
        labels,
        examples.taken(train),
        examples.taken(validation),
        options,
    )
    fitted = fit(task)
    return LoadedHead(fitted.spec, fitted.tensors, {}, "")


def measured(head: LoadedHead, data: FeatureSet, rows: Rows) -> dict[str, Any]:
    """What ``motet evaluate`` says of the head on these rows."""
    return HeadOnSet(head, data.taken(rows), "rows").report()


def subset_accuracy(report: dict[str, Any]) -> dict[tuple[str, ...], float]:
    """By the stages that were there."""
    return {tuple(row["stages"]): row["accuracy"] for row in report["subsets"]}


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation of a figure over folds or seeds."""
    if len(values) < 2:
        return f"{np.mean(values):.3f}".removeprefix("0")
    told = f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    return told.replace("0.", ".")


def interval(right: NDArray[np.bool_]) -> str:
    """Of the share that is right, over resampled rows."""
    rows = [float(each) for each in right]
    low_high = ratio_interval(rows, [1.0] * len(rows), [str(at) for at in range(len(rows))])
    return "" if low_high is None else f"[{low_high.low:.3f}, {low_high.high:.3f}]"
