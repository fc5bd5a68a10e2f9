"""What pictures show: as a vector, and in words (EfficientNet-Lite0, or a network of the user's).

What the labels say: the photographs of ImageNet-1k, 1,000 kinds of things and many of them dogs.
Of a street camera or a cartoon they tell little; they are scores, not truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.encoders.base import Clip, Vector
from pipeline.encoders.image import FRAMES_MAX
from pipeline.encoders.models.image_names import class_names
from pipeline.encoders.models.image_network import ImageNetwork
from pipeline.encoders.options import one_of, real, whole

_FRAMES_MOST = 100_000
_ACTIVATIONS = ("softmax", "sigmoid", "none")


class ImageEmbedding:
    """What the network makes of a window's pictures; float32, shape (1280,).

    The last layer of EfficientNet-Lite0 before its classes, averaged over the picture, then over
    the window's frames (at most ``max_frames``, evenly spread). Numbers are 0 or more and are not
    normalised. A window without pictures gives zeros. Frames of films are scaled down while they
    are decoded, to four times the side that the network needs. The other options are those of
    ``ImageNetwork``; a ``model`` has the length of its own output.
    """

    takes = ("image", "video")
    gives = "vector"

    def __init__(
        self, device: torch.device, *, max_frames: int = FRAMES_MAX,
        weights: str | None = None, model: str | None = None, size: int | None = None,
        crop: float | None = None, mean: Any = None, std: Any = None, batch: int | None = None,
    ) -> None:  # fmt: skip
        self.frames_max = whole("max_frames", max_frames, 1, _FRAMES_MOST)
        self._network = ImageNetwork(
            device, logits=False, weights=weights, model=model, size=size, crop=crop, mean=mean,
            std=std, batch=batch,
        )  # fmt: skip
        self.length = self._network.length
        self.frame_size = self._network.frame_size

    def encode(self, batch: Sequence[Clip]) -> list[Vector]:
        return [_mean(rows) for rows in self._network.windows(batch, self.frames_max)]


class ImageLabels:
    """What is to be seen in a window, as ``{"labels": [{"label", "score"}, ...], "frames"}``.

    The ``top`` labels of the mean over the frames' probabilities, the likeliest first, those of
    at least ``min_score``; scores have six decimals. ``frames`` is how many were looked at (at
    most ``max_frames``, evenly spread). ``activation`` makes probabilities of the network's
    outputs: ``softmax``, ``sigmoid``, or ``none`` where they are some already. ``labels`` is a
    text file with one name a line, in the order of the outputs; without it they are ImageNet's.
    The other options are those of ``ImageNetwork``.
    """

    takes = ("image", "video")
    gives = "data"

    def __init__(
        self, device: torch.device, *, top: int = 5, min_score: float = 0.0,
        max_frames: int = FRAMES_MAX, labels: str | None = None, activation: str = "softmax",
        weights: str | None = None, model: str | None = None, size: int | None = None,
        crop: float | None = None, mean: Any = None, std: Any = None, batch: int | None = None,
    ) -> None:  # fmt: skip
        self._top = whole("top", top, 1, 1000)
        self._least = real("min_score", min_score, 0.0, 1.0)
        self.frames_max = whole("max_frames", max_frames, 1, _FRAMES_MOST)
        self._activation = one_of("activation", activation, _ACTIVATIONS)
        self._network = ImageNetwork(
            device, logits=True, weights=weights, model=model, size=size, crop=crop, mean=mean,
            std=std, batch=batch,
        )  # fmt: skip
        self.frame_size = self._network.frame_size
        self._names = class_names(labels, self._network.length)

    def encode(self, batch: Sequence[Clip]) -> list[dict[str, Any]]:
        windows = self._network.windows(batch, self.frames_max)
        return [{"labels": self._named(rows), "frames": len(rows)} for rows in windows]

    def _named(self, rows: NDArray[np.float32]) -> list[dict[str, Any]]:
        if not len(rows):
            return []
        scores = _mean(_probabilities(rows, self._activation))
        order = np.argsort(-scores, kind="stable")[: self._top]
        return [
            {"label": self._names[place], "score": round(float(scores[place]), 6)}
            for place in order
            if scores[place] >= self._least
        ]


def _mean(rows: NDArray[Any]) -> Vector:
    """Over the frames, in float64; zeros where there is none."""
    if not len(rows):
        return np.zeros(rows.shape[1], np.float32)
    mean: NDArray[np.float64] = rows.mean(axis=0, dtype=np.float64)
    return mean.astype(np.float32)


def _probabilities(rows: NDArray[np.float32], activation: str) -> NDArray[np.float64]:
    values = torch.from_numpy(rows).double()
    if activation == "softmax":
        values = values.softmax(dim=1)
    elif activation == "sigmoid":
        values = values.sigmoid()
    found: NDArray[np.float64] = values.numpy()
    return found
