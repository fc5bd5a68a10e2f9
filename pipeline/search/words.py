"""How much of a question's words a text has: for when there is no model of meaning."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+")
_BEGINNING_MIN = 4  # letters of a word that finds longer ones: "door" finds "doors"


def words_in(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def word_scores(question: str, texts: Sequence[str]) -> NDArray[np.float32]:
    """A score from 0 to 1 for each text, shape (n,): the share of the question's words in it.

    A word weighs as rare as it is among the texts (inverse document frequency, Sparck Jones,
    1972); one of four letters or more is also found at the beginning of a longer word.
    """
    wanted = list(dict.fromkeys(words_in(question)))
    found = np.zeros((len(wanted), len(texts)), bool)
    for column, text in enumerate(texts):
        there = set(words_in(text))
        for row, word in enumerate(wanted):
            found[row, column] = word in there or (
                len(word) >= _BEGINNING_MIN and any(each.startswith(word) for each in there)
            )
    if not wanted or not texts:
        return np.zeros(len(texts), np.float32)
    weights = np.array([math.log1p(len(texts) / (1 + count)) for count in found.sum(axis=1)])
    scores: NDArray[np.float64] = weights @ found / weights.sum()
    return scores.astype(np.float32)
