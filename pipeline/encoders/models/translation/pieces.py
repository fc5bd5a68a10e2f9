"""Subwords of one side of sentence pairs: what a translation reads and writes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

PAD, BEGIN, END, UNKNOWN = range(4)
SPECIAL = 4  # ids below are no text
# A run of letters, one digit, or one sign, with the space before it: nothing is joined across.
_WORD = re.compile(r" ?(?:\d|[^\W\d]+|[^\w\s])")
_OFTEN = 5  # a pair that occurs less is not joined
_REMEMBERED = 1 << 14
Joined = tuple[str, str]


class Pieces:
    """Byte-pair encoding of characters (Sennrich et al., 2016): ids to and from text.

    ``characters`` and ``joins`` say all: the joins are made in their order. A digit is a piece of
    its own, so that numbers which were never seen are read digit by digit. A character that
    training did not have is UNKNOWN.
    """

    def __init__(self, characters: Sequence[str], joins: Sequence[Joined]) -> None:
        self.characters = list(characters)
        self.joins = [(str(left), str(right)) for left, right in joins]
        self.texts = list(dict.fromkeys([*characters, *(left + right for left, right in joins)]))
        self._ids = {text: SPECIAL + place for place, text in enumerate(self.texts)}
        self._rank = {pair: place for place, pair in enumerate(self.joins)}
        self._of_word = lru_cache(maxsize=_REMEMBERED)(self._split)

    def __len__(self) -> int:
        """How many ids there are, those that are no text among them."""
        return SPECIAL + len(self.texts)

    def ids(self, text: str) -> list[int]:
        """Of a tidy text, without BEGIN and END."""
        return [id for word in words(text) for id in self._of_word(word)]

    def text(self, ids: Iterable[int]) -> str:
        """Of ids that were written: whatever is no text is left out."""
        return "".join(self.texts[id - SPECIAL] for id in ids if id >= SPECIAL).strip()

    def as_json(self) -> dict[str, Any]:
        return {"characters": self.characters, "joins": [list(pair) for pair in self.joins]}

    def _split(self, word: str) -> tuple[int, ...]:
        parts = list(word)
        while len(parts) > 1:
            best = min(pairwise(parts), key=lambda pair: self._rank.get(pair, len(self._rank)))
            if best not in self._rank:
                break
            parts = joined(parts, best)
        return tuple(self._ids.get(part, UNKNOWN) for part in parts)


def tidy(text: str, *, fold: bool) -> str:
    """NFKC and single spaces; ``fold``: without the difference of capitals, as sources are read."""
    text = " ".join(unicodedata.normalize("NFKC", text).split())
    return text.casefold() if fold else text


def words(text: str) -> list[str]:
    """A tidy text in the parts that no piece goes beyond; joined, they are the text."""
    return _WORD.findall(text)


def joined(parts: Sequence[str], pair: Joined) -> list[str]:
    """The parts with every occurrence of the pair as one, from left to right."""
    found, place = [], 0
    while place < len(parts):
        both = tuple(parts[place : place + 2]) == pair
        found.append("".join(pair) if both else parts[place])
        place += 2 if both else 1
    return found


def learn_pieces(texts: Sequence[str], joins_max: int) -> Pieces:
    """The commonest pair of neighbours is joined, again and again; of equals the first by letters.

    Only the words that hold a pair are looked at when it is joined.
    """
    counts = Counter(word for text in texts for word in words(text))
    parts = {word: list(word) for word in counts}
    often: Counter[Joined] = Counter()
    holders: defaultdict[Joined, set[str]] = defaultdict(set)

    def count(word: str, sign: int) -> None:
        for pair in pairwise(parts[word]):
            often[pair] += sign * counts[word]
            holders[pair].add(word)

    for word in counts:
        count(word, 1)
    joins: list[Joined] = []
    while often and len(joins) < joins_max:
        best = min(often, key=lambda pair: (-often[pair], pair))
        if often[best] < _OFTEN:
            break
        joins.append(best)
        for word in holders.pop(best):
            count(word, -1)
            parts[word] = joined(parts[word], best)
            count(word, 1)
        del often[best]
    return Pieces(sorted({character for text in texts for character in text}), joins)
