"""Sums and products of rows whose bits do not depend on how many rows a call has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]

# Rows of one product. A matrix product's kernel is chosen by its shape, so the shape is fixed:
# then a window's bits do not depend on how many are fused with it.
_TILE = 16


def dots(left: Rows, right: Rows) -> Rows:
    """Row by row ⟨left, right⟩: each row is summed alone, in numpy's pairwise order."""
    sums: Rows = np.ascontiguousarray(left * right).sum(axis=1)
    return sums


def product(rows: Rows, matrix: Rows) -> Rows:
    """``rows @ matrix`` in tiles of one size, the last filled up with zeros."""
    out = np.empty((len(rows), matrix.shape[1]))
    tile = np.zeros((_TILE, matrix.shape[0]))
    for first in range(0, len(rows), _TILE):
        count = min(_TILE, len(rows) - first)
        tile[:count] = rows[first : first + count]
        tile[count:] = 0.0
        out[first : first + count] = (tile @ matrix)[:count]
    return out


def normalized(rows: Rows) -> Rows:
    """Each row over its l2 norm; n(0) = 0."""
    norms = np.sqrt(dots(rows, rows))[:, None]
    return rows / np.where(norms > 0, norms, 1.0)


def log_softmax(rows: Rows) -> Rows:
    """Row by row log(exp(x) / Σ exp(x)), shape (n, c); a sum over few columns in their order."""
    shifted = rows - rows.max(axis=1, keepdims=True)
    total = np.ascontiguousarray(np.exp(shifted)).sum(axis=1, keepdims=True)
    found: Rows = shifted - np.log(total)
    return found


def masked_softmax(scores: Rows, masks: NDArray[np.bool_]) -> Rows:
    """Row by row a softmax over the columns that a mask has; all zeros where it has none."""
    lowest = np.where(masks, scores, -np.inf).max(axis=1, keepdims=True)
    shifted = np.where(masks, scores - np.where(np.isfinite(lowest), lowest, 0.0), 0.0)
    powers = np.where(masks, np.exp(shifted), 0.0)
    total = np.ascontiguousarray(powers).sum(axis=1, keepdims=True)
    found: Rows = powers / np.where(total > 0, total, 1.0)
    return found
