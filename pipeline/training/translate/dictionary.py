"""The baseline of a translation: word for word, by a dictionary from the same training pairs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from pipeline.training.translate.pairs import Pair

_ROUNDS = 5
# Han characters and Japanese syllables have no spaces between words: each is one.
_SCRIPT = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(f" ?(?:[{_SCRIPT}]|\\d|[^\\W\\d{_SCRIPT}]+|[^\\w\\s])")
HAN = re.compile(f"[{_SCRIPT}]")


class Dictionary:
    """Of each source word the likeliest target word, t(e|f) of IBM Model 1 (Brown et al., 1993).

    A word that training did not have stands for itself. It knows no order and no endings: what a
    trained network does better, it has learned beyond words.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        split = [(_words(pair.source), _words(pair.target)) for pair in pairs]
        likely: dict[str, dict[str, float]] = defaultdict(dict)
        for source, target in split:
            for word in source:
                likely[word].update(dict.fromkeys(target, 1.0))
        for _ in range(_ROUNDS):
            likely = _round(split, likely)
        # of equals the first by letters, so that the order of the pairs decides nothing
        self._best = {
            word: max(sorted(found), key=found.__getitem__) for word, found in likely.items()
        }

    def translated(self, text: str) -> str:
        return "".join(self._best.get(word, word) for word in _words(text)).strip()


def _words(text: str) -> list[str]:
    """With the space before each; the first word of a text is the same as further on."""
    return _WORD.findall(f" {text}")


def _round(
    split: Sequence[tuple[list[str], list[str]]], likely: dict[str, dict[str, float]]
) -> dict[str, dict[str, float]]:
    """One step of expectation and maximisation."""
    counts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for source, target in split:
        for said in target:
            shares = [(word, likely[word][said]) for word in source]
            total = sum(share for _, share in shares)
            for word, share in shares:
                counts[word][said] += share / total
    found: dict[str, dict[str, float]] = {}
    for word, shared in counts.items():
        total = sum(shared.values())
        found[word] = {said: share / total for said, share in shared.items()}
    return found
