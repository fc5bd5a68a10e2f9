"""Three classes of sound that a simple head tells apart: a tone, noise and a sweep."""

from __future__ import annotations

import numpy as np

RATE = 16_000
CLASSES = ("tone", "noise", "sweep")


def sound(label: str, seed: int, seconds: float = 1.0) -> bytes:
    """Samples of ``audio/L16``: big-endian, mono; every seed has its pitch, level and noise."""
    rng = np.random.default_rng(seed)
    times_s = np.arange(round(seconds * RATE)) / RATE
    hertz = rng.uniform(300, 900)
    made = {
        "tone": np.sin(2 * np.pi * hertz * times_s),
        "noise": rng.standard_normal(len(times_s)) / 3,
        "sweep": np.sin(2 * np.pi * (hertz + 2_500 * times_s) * times_s),
    }[label]
    level = rng.uniform(3_000, 9_000)
    made = level * (made + 0.02 * rng.standard_normal(len(times_s)))
    return np.clip(made, -32_768, 32_767).astype(">i2").tobytes()
