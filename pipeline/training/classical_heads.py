"""The heads that scikit-learn fits, for little compute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.training import classical
from pipeline.training.inputs import Projected, blocks, fused, standard_arrays
from pipeline.training.options import COMBINES, TrainOptions
from pipeline.training.prepared import Examples
from pipeline.training.task import Fitted, Task, temperature

Floats = NDArray[np.float64]


def linear(task: Task) -> list[Fitted]:
    """``logistic`` and ``svm`` on F, with one more number a stage that says that it is there.

    With the kernel ``rbf`` the svm reads cosines of F, and F alone.
    """
    examples = _augmented(task)
    projected = None if task.fusion.rule == "concat" else Projected.of(task)
    standards = task.standards() if projected is None else {}
    if projected is None:
        found = blocks(task, examples, standards)
        rows = np.concatenate([found[stage] for stage in task.stages], axis=1)
    else:
        rows = projected.standard.applied(fused(task, examples, projected.matrices))
    rbf = task.options.kind == "svm" and task.options.kernel == "rbf"
    fits = []
    for fit in (_of_cosines if rbf else _of_numbers)(task, rows, examples):
        map_, offsets, bias = fit.first
        tensors = {f"{s}.offset": offsets[row] for row, s in enumerate(task.stages)} | fit.layer
        if projected is None:
            ends = np.cumsum([task.lengths[stage] for stage in task.stages])
            for stage, part in zip(task.stages, np.split(map_, ends[:-1]), strict=True):
                tensors |= {f"{stage}.matrix": part, **standard_arrays(stage, standards[stage])}
            tensors["bias"] = bias
        else:
            scaled = projected.standard.scale[:, None] * map_
            tensors |= projected.stage_matrices(scaled)
            tensors["bias"] = bias - projected.standard.centre @ scaled
        layers = ("cosine",) if fit.layer else ()
        fits.append(Fitted(task.spec(layers=layers), tensors, tried=fit.tried))
    return fits


class _Fit(NamedTuple):
    """``first``: map of F, offset of each stage, bias; ``layer``: the arrays of a second one."""

    first: tuple[Floats, Floats, Floats]
    layer: dict[str, Floats]
    tried: dict[str, object]


def _of_numbers(task: Task, rows: Floats, examples: Examples) -> Iterator[_Fit]:
    options, width = task.options, rows.shape[1]
    design = np.concatenate([rows, examples.mask_matrix()], axis=1)
    for strength in classical.STRENGTHS[options.kind]:
        matrix, bias = _fitted(task, design, examples, strength)
        yield _Fit((matrix[:width], matrix[width:], bias), {}, {"strength": strength})


def _of_cosines(task: Task, rows: Floats, examples: Examples) -> Iterator[_Fit]:
    """Random Fourier features (Rahimi and Recht, 2007): z = √(2/D) cos(x W + b).

    ⟨z(x), z(y)⟩ is near exp(-γ ‖x - y‖²) where W has the variance 2 γ and b is even over a turn.
    The head has these D cosines for its features: what is served is exactly what was fitted.
    """
    rng = np.random.default_rng(task.options.seed)
    count = classical.COSINES
    normal = rng.standard_normal((rows.shape[1], count))
    turns = rng.uniform(0, 2 * np.pi, count)
    size = np.sqrt(2 / count)
    for wide in classical.GAMMAS:
        map_ = normal * np.sqrt(2 * wide / rows.shape[1])
        design = size * np.cos(rows @ map_ + turns)
        for strength in classical.STRENGTHS["rbf"]:
            matrix, bias = _fitted(task, design, examples, strength)
            first = map_, np.zeros((len(task.stages), count)), turns
            layer = {"layer0.matrix": size * matrix, "layer0.offset": bias}
            tried = {"strength": strength, "gamma": wide / rows.shape[1]}
            yield _Fit(first, layer, tried)


def _fitted(
    task: Task, design: Floats, examples: Examples, strength: float
) -> tuple[Floats, Floats]:
    options, labels = task.options, len(task.labels)
    truth, seed, balanced = examples.truth, options.seed, options.balanced
    return classical.fit_linear(options.kind, design, truth, labels, strength, seed, balanced)


def naive_bayes(task: Task) -> Fitted:
    """``concat``: a density a stage, so that a missing one says nothing. Else one density of F."""
    labels = len(task.labels)
    prior = classical.log_prior(task.train.truth, labels, task.options.balanced)
    if task.fusion.rule == "concat":
        standards = task.standards()
        found = blocks(task, task.train, standards)
        tensors: dict[str, Floats] = {"bias": prior}
        for stage in task.stages:
            there = task.train.masks[stage]
            matrix, offset = _density(found[stage][there], task.train.truth[there], labels)
            tensors |= standard_arrays(stage, standards[stage])
            tensors |= {f"{stage}.matrix": matrix, f"{stage}.offset": offset}
        return Fitted(task.spec(squares=True), tensors)
    projected = Projected.of(task)
    standard = projected.standard
    rows = standard.applied(fused(task, task.train, projected.matrices))
    matrix, offset = _density(rows, task.train.truth, labels)
    tensors = {"bias": -standard.centre * standard.scale, "layer0.matrix": matrix}
    tensors["layer0.offset"] = offset + prior
    tensors |= projected.stage_matrices(np.diag(standard.scale))
    tensors |= {f"{stage}.offset": np.zeros(len(standard.centre)) for stage in task.stages}
    return Fitted(task.spec(layers=("squares",)), tensors)


def _density(rows: Floats, truth: NDArray[np.intp], labels: int) -> tuple[Floats, Floats]:
    if not len(rows):
        return np.zeros((2 * rows.shape[1], labels)), np.zeros(labels)
    return classical.fit_naive_bayes(rows, truth, labels)


def late(task: Task) -> list[Fitted]:
    """A logistic expert a stage, the best on its own validation rows and calibrated on them."""
    options, labels = task.options, len(task.labels)
    standards = task.standards()
    train, held = (blocks(task, each, standards) for each in (task.train, task.validation))
    prior = classical.log_prior(task.train.truth, labels, options.balanced)
    tensors: dict[str, Floats] = {"prior": prior}
    for stage in task.stages:
        there, seen = task.train.masks[stage], task.validation.masks[stage]
        matrix, offset = _expert(
            train[stage][there],
            task.train.truth[there],
            held[stage][seen],
            task.validation.truth[seen],
            prior,
            options,
        )
        tensors |= standard_arrays(stage, standards[stage])
        tensors |= {f"{stage}.matrix": matrix, f"{stage}.offset": offset}
    ways = COMBINES if options.combine is None else (options.combine,)
    return [Fitted(task.spec(combine=way), tensors, tried={"combine": way}) for way in ways]


def _expert(
    rows: Floats,
    truth: NDArray[np.intp],
    held: Floats,
    held_truth: NDArray[np.intp],
    prior: Floats,
    options: TrainOptions,
) -> tuple[Floats, Floats]:
    """Matrix and offset, over the temperature; the prior alone where there is nothing to learn."""
    best, best_loss = (np.zeros((rows.shape[1], len(prior))), prior), np.inf
    if len(set(truth.tolist())) < 2:
        return best
    for strength in classical.STRENGTHS["logistic"]:
        matrix, offset = classical.fit_linear(
            "logistic", rows, truth, len(prior), strength, options.seed, options.balanced
        )
        cooled, loss = temperature(held @ matrix + offset, held_truth)
        if loss < best_loss:
            best, best_loss = (matrix / cooled, offset / cooled), loss
    return best


def _augmented(task: Task) -> Examples:
    """The training rows, and once more with stages hidden (modality dropout for a plain fit)."""
    chance = task.options.modality_dropout
    if chance <= 0 or len(task.stages) < 2:
        return task.train
    rng = np.random.default_rng(task.options.seed)
    masks = task.train.mask_matrix()
    kept = masks & (rng.random(masks.shape) >= chance)
    kept = np.where(kept.any(axis=1, keepdims=True), kept, masks)
    changed = np.flatnonzero((kept != masks).any(axis=1))
    hidden = {
        stage: np.concatenate([np.zeros(len(masks), np.bool_), ~kept[changed, column]])
        for column, stage in enumerate(task.stages)
    }
    twice = task.train.taken(np.concatenate([np.arange(len(masks)), changed]))
    return twice.masked(hidden)
