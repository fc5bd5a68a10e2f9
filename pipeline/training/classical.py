"""Heads that are fitted by scikit-learn, for little compute; only arrays leave this module."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Truth = NDArray[np.intp]

# What a label gets that an expert never saw: next to no probability, and still a number.
_UNSEEN_LOGIT = -20.0
# Inverse regularisation (``C`` of scikit-learn) that is tried, the strongest first.
STRENGTHS = {"logistic": (0.01, 0.1, 1.0), "svm": (0.001, 0.01, 0.1), "rbf": (0.1, 1.0, 10.0)}
# Of the kernel rbf: γ that are tried, times the count of numbers; and features of a window.
GAMMAS = (0.25, 1.0)
COSINES = 512
_ITERATIONS = 2000


def fit_linear(
    kind: str, rows: Floats, truth: Truth, labels: int, strength: float, seed: int, balanced: bool
) -> tuple[Floats, Floats]:
    """``logistic`` (multinomial) or ``svm`` (linear, one against the rest): matrix and offset.

    logits = rows @ matrix + offset, shapes (d, labels) and (labels,). ``rows`` standardised.
    """
    weights = "balanced" if balanced else None
    model: Any
    if kind == "logistic":
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=strength, max_iter=_ITERATIONS, class_weight=weights)
    else:
        from sklearn.svm import LinearSVC

        model = LinearSVC(C=strength, max_iter=20_000, class_weight=weights, random_state=seed)
    model.fit(rows, truth)
    matrix, offset = np.asarray(model.coef_).T, np.asarray(model.intercept_)
    if len(model.classes_) == 2:  # one function for two labels: half of it for each
        matrix = np.concatenate([-matrix, matrix], axis=1) / 2
        offset = np.concatenate([-offset, offset]) / 2
    return _spread(matrix, offset, model.classes_, labels)


def _spread(
    matrix: Floats, offset: Floats, classes: NDArray[Any], labels: int
) -> tuple[Floats, Floats]:
    """Columns for all labels, where some did not occur."""
    wide, bias = np.zeros((len(matrix), labels)), np.full(labels, _UNSEEN_LOGIT)
    wide[:, classes] = matrix
    bias[classes] = offset
    return wide, bias


def fit_naive_bayes(rows: Floats, truth: Truth, labels: int) -> tuple[Floats, Floats]:
    """Gaussian naive Bayes as a map of ``[rows, rows²]``: log p(row | label) without the prior.

    Shapes (2d, labels) and (labels,). A label that has no row here gets the density of all rows,
    so it is neither for nor against it.
    """
    from sklearn.naive_bayes import GaussianNB

    model = GaussianNB(var_smoothing=1e-3).fit(rows, truth)
    means = np.tile(rows.mean(axis=0), (labels, 1))
    variances = np.tile(rows.var(axis=0) + model.epsilon_, (labels, 1))
    means[model.classes_] = model.theta_
    variances[model.classes_] = model.var_
    variances = np.maximum(variances, 1e-12)
    matrix = np.concatenate([(means / variances).T, (-0.5 / variances).T])
    offset = -0.5 * (np.log(2 * np.pi * variances) + means**2 / variances).sum(axis=1)
    return matrix, offset


def log_prior(truth: Truth, labels: int, balanced: bool) -> Floats:
    """By label; equal where labels are balanced, else how often each occurs (plus one)."""
    counts = np.ones(labels) if balanced else np.bincount(truth, minlength=labels) + 1.0
    found: Floats = np.log(counts / counts.sum())
    return found
