"""The demo's own encoder: which of some named topics a text is nearest to.

It stands beside the pipeline file as a class of your own would, and the file names it by
`encoder: nearest_topic:NearestTopic`. Change it, or only the topics in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pipeline.encoders.base import Clip, Said

# Vectors of the demo's topics, so that this process need not load the network for them, which
# takes it some seconds: `names`, and float32 (topics, 384) as text_embedding gives them.
KNOWN = Path(__file__).with_name("topics.npz")


class NearestTopic:
    """Reads vectors of `text_embedding`; gives the name of the nearest topic, or no text.

    A topic's score is the cosine of its name's vector and the text's. `data` has the `top` nearest
    with a score of at least `min_score`, the nearest first. Where there are none (nor where there
    was no text: its vector is zeros), the text is empty.
    """

    takes = "vector"
    gives = "text"

    def __init__(
        self, device: torch.device, *, topics: Sequence[str], top: int = 3, min_score: float = 0.2
    ) -> None:
        self._topics = list(topics)
        self._vectors = topic_vectors(self._topics, device)
        self._top = top
        self._min_score = min_score

    def encode(self, batch: Sequence[Clip]) -> list[Said]:
        return [self._of(clip) for clip in batch]

    def _of(self, clip: Clip) -> Said:
        scores = self._vectors @ clip.vector
        order = np.argsort(-scores, kind="stable")[: self._top]
        found = [
            {"label": self._topics[place], "score": round(float(scores[place]), 3)}
            for place in order
            if scores[place] >= self._min_score
        ]
        return Said(found[0]["label"] if found else "", {"labels": found})


def topic_vectors(topics: Sequence[str], device: torch.device) -> np.ndarray:
    """One row each, of length 1: those of the file, and where it lacks one all by the network."""
    with np.load(KNOWN) as known:
        vectors = dict(zip(known["names"].tolist(), known["vectors"], strict=True))
    if all(topic in vectors for topic in topics):
        return np.stack([vectors[topic] for topic in topics])
    from pipeline.encoders.models.text_embedding import TextEmbedding

    return np.stack(TextEmbedding(device).encode([Clip("", 0, 0, text=t) for t in topics]))
