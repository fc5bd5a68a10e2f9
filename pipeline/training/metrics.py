"""How good scores are, from a confusion matrix and the probabilities themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_BINS = 15


def confusion(truth: NDArray[np.intp], found: NDArray[np.intp], labels: int) -> NDArray[np.int64]:
    """Rows are what is true, columns what was found."""
    matrix = np.zeros((labels, labels), np.int64)
    np.add.at(matrix, (truth, found), 1)
    return matrix


def scored(truth: NDArray[np.intp], scores: Floats) -> dict[str, Any]:
    """Accuracy, balanced accuracy, macro F1, log loss, calibration error and the confusion matrix.

    ``scores`` (n, labels) are probabilities. Balanced accuracy is the mean recall, macro F1 the
    mean F1, both over the labels that occur. ``calibration_error``: expected calibration error
    over 15 bins of equal width (Guo et al., 2017).
    """
    count = len(truth)
    found = scores.argmax(axis=1)
    matrix = confusion(truth, found, scores.shape[1])
    right, true, named = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    occurs = true > 0
    f1 = 2.0 * right / np.maximum(true + named, 1)
    chosen = np.maximum(scores[np.arange(count), truth], np.finfo(np.float64).tiny)
    return {
        "rows": count,
        "accuracy": float(right.sum() / count),
        "balanced_accuracy": float((right[occurs] / true[occurs]).mean()),
        "macro_f1": float(f1[occurs].mean()),
        "log_loss": float(-np.log(chosen).mean()),
        "calibration_error": calibration_error(truth, scores),
        "confusion": matrix.tolist(),
    }


def calibration_error(truth: NDArray[np.intp], scores: Floats) -> float:
    sure, right = scores.max(axis=1), scores.argmax(axis=1) == truth
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    gaps = [
        abs(float(right[bins == each].mean() - sure[bins == each].mean())) * (bins == each).mean()
        for each in np.unique(bins)
    ]
    return float(sum(gaps))


def standard_error(accuracy: float, rows: int) -> float:
    """Of an accuracy over so many rows, as if they were independent."""
    return float(np.sqrt(max(accuracy * (1 - accuracy), 0.25 / rows) / rows))
