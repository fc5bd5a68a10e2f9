"""Vectors of three stages: plain numbers, steps of numbers, and tokens."""

from __future__ import annotations

import numpy as np

from pipeline.spec.sequence import SequenceShape

SHAPES = {"sound": SequenceShape(7, 3), "words": SequenceShape(6, 50, tokens=True)}
LENGTHS = {"colour": 4, "sound": 21, "words": 6}


def words(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Tokens padded at the end, some rows without any."""
    found = rng.integers(1, 50, (rows, 6)).astype(np.float32)
    found[np.arange(6) >= rng.integers(0, 7, rows)[:, None]] = 0
    return found


def vectors(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    made = {s: rng.standard_normal((rows, n)).astype(np.float32) for s, n in LENGTHS.items()}
    return made | {"words": words(rng, rows)}
