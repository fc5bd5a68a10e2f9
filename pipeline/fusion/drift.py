"""How unlike the vectors of now are those that a head was trained on, stage by stage.

The distance is the squared Hellinger distance of two normal distributions, number by number, and
the mean over a vector's numbers (Ditzler and Polikar, Hellinger distance based drift detection for
nonstationary environments, 2011, who take histograms). With δ and s, the mean and the deviation
of now in units of training's: H² = 1 - √(2s / (1 + s²)) exp(-δ² / (4 (1 + s²))), from 0 to 1.

A stream that varies less than all streams of the training together is no drift: s counts as 1
at least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.fusion.linear import Vectors
from pipeline.fusion.products import Rows, normalized

REMEMBERED = 128  # windows: one counts 1/e of the newest after so many
NUMBERS_MAX = 512  # of a vector, or of a step of a sequence, that are looked at: every nth
CARD_KEY = "reference"


@dataclass(frozen=True, eq=False, slots=True)
class Reference:
    """One stage's vectors in training: ``mean`` and ``spread`` (k,) of the numbers looked at.

    ``width``: of a vector, or of a step of a sequence. ``level``: the distance from which vectors
    are unlike those of training (``pipeline.training.reference``). A number that never varied has
    a spread of 0, and is left out.
    """

    width: int
    mean: Rows
    spread: Rows
    level: float

    @classmethod
    def of_rows(cls, rows: Rows, width: int, level: float = 1.0) -> Reference:
        """``rows`` (n, d), already normalised as the head's."""
        looked = looked_at(rows, width)
        mean, spread = looked.mean(axis=0), looked.std(axis=0)
        varies = spread > 1e-6 * (np.abs(mean) + 1e-6)
        return cls(width, mean, np.where(varies, spread, 0.0), level)

    def as_json(self) -> dict[str, Any]:
        """For a card, to six digits."""
        numbers = {"mean": self.mean, "spread": self.spread}
        short = {name: [float(f"{x:.6g}") for x in array] for name, array in numbers.items()}
        return {"width": self.width, "level": round(self.level, 6), **short}

    def moments(self, rows: NDArray[Any]) -> Rows:
        """(2, k) of ``rows`` (n, d): in units of training's, means and means of squares."""
        scale = np.divide(1.0, self.spread, out=np.zeros_like(self.spread), where=self.spread > 0)
        numbers = (looked_at(rows, self.width) - self.mean) * scale
        squares = np.einsum("ij,ij->j", numbers, numbers) / len(numbers)
        return np.stack([numbers.mean(axis=0), squares])

    def far(self, moments: Rows) -> float:
        """The distance of rows with these ``moments``, over the numbers that varied in training."""
        return distance(*moments[:, self.spread > 0])


def looked_at(rows: NDArray[Any], width: int) -> NDArray[Any]:
    """Shape (n · steps, k)."""
    return rows.reshape(-1, width)[:, :: -(-width // NUMBERS_MAX)]


def distance(mean: Rows, square: Rows) -> float:
    """Of standardised numbers with these means, and means of squares; 0 where there are none."""
    if not len(mean):
        return 0.0
    variance = np.maximum(square - mean**2, 1.0)
    overlap = np.sqrt(2 * np.sqrt(variance) / (1 + variance))
    return float((1.0 - overlap * np.exp(-(mean**2) / (4 * (1 + variance)))).mean())


def references_of(card: Mapping[str, Any]) -> dict[str, Reference]:
    """By stage what a head's card tells; none where it was trained by an older version.

    Raises KeyError, TypeError or ValueError where that fits no vector of the stage.
    """
    found = {}
    for stage, told in card.get(CARD_KEY, {}).items():
        mean, spread = (np.array(told[name], np.float64) for name in ("mean", "spread"))
        one = Reference(told["width"], mean, spread, told["level"])
        rows = looked_at(np.zeros((1, card["head"]["lengths"][stage])), one.width)
        shapes = {rows.shape[1:], one.mean.shape, one.spread.shape}
        if len(shapes) > 1 or not np.isfinite([*one.mean, *one.spread]).all() or not one.level > 0:
            raise ValueError(f"{stage} gives {rows.shape[1]} numbers, and {CARD_KEY} has others")
        found[stage] = one
    return found


class Drift:
    """Running moments of what a head reads, against those of its training.

    Invariant: of each stage two numbers are kept for each that is looked at, whatever comes. A
    stage is told once it has given REMEMBERED windows.
    """

    def __init__(self, references: Mapping[str, Reference], normalize: str) -> None:
        self._references = references
        self._normalize = normalize
        self._seen = dict.fromkeys(references, 0)
        self._moments: dict[str, NDArray[np.float64]] = {}

    def take(self, windows: Sequence[Vectors]) -> None:
        """Vectors of windows by stage, float32, as they are fused."""
        for stage, reference in self._references.items():
            given = [vectors[stage] for vectors in windows if stage in vectors]
            if not given:
                continue
            rows: NDArray[Any] = np.stack(given)
            if self._normalize == "l2":
                rows = normalized(rows.astype(np.float64))
            now = reference.moments(rows)
            before = self._moments.setdefault(stage, np.zeros_like(now))
            before += (now - before) * self._share(stage, len(given))

    def scores(self) -> dict[str, float]:
        """By stage the distance in units of its level: 1 and above is drift."""
        return {
            stage: self._references[stage].far(moments) / self._references[stage].level
            for stage, moments in self._moments.items()
            if self._seen[stage] >= REMEMBERED
        }

    def _share(self, stage: str, count: int) -> float:
        """What newest windows weigh: each as much as another until REMEMBERED are there."""
        self._seen[stage] += count
        return max(count / self._seen[stage], 1.0 - (1.0 - 1.0 / REMEMBERED) ** count)
