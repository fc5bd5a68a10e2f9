"""The passages of a result that can be searched: its label, its texts, the words in its data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

Kind = Literal["label", "text", "data"]

PASSAGE_CHARS_MAX = 400  # about 80 words: what a sentence embedding still tells apart
PASSAGES_MAX = 16  # of one result
DATA_SCORE_MIN = 0.1  # what an encoder is less sure of is no finding
DATA_DEPTH_MAX = 8
LABEL = "label"


class Passage(NamedTuple):
    """A piece of text of at most PASSAGE_CHARS_MAX; ``source`` is its stage, or ``label``."""

    source: str
    kind: Kind
    text: str


def passages_of(result: Mapping[str, Any]) -> list[Passage]:
    """Of a result's value, as it stands in the topic: at most PASSAGES_MAX, the label first.

    Words in the data of a stage that stand in the stage's own text are not said twice, and
    entries of data with a ``score`` below DATA_SCORE_MIN are left out.
    """
    found: list[Passage] = []
    label = result["output"].get("label")
    if isinstance(label, str) and label.strip():
        found.append(Passage(LABEL, "label", label.strip()[:PASSAGE_CHARS_MAX]))
    texts = result.get("text", {})
    for stage, text in texts.items():
        found += (Passage(stage, "text", piece) for piece in pieces(text))
    for stage, data in result.get("data", {}).items():
        told = str(texts.get(stage, "")).casefold()
        words = dict.fromkeys(word for word in _words(data) if word.casefold() not in told)
        found += (Passage(stage, "data", piece) for piece in pieces(", ".join(words)))
    return found[:PASSAGES_MAX]


def pieces(text: str) -> Iterator[str]:
    """The text in order, cut between words where it is longer than a passage may be."""
    piece = ""
    for word in text.split():
        if piece and len(piece) + 1 + len(word) > PASSAGE_CHARS_MAX:
            yield piece
            piece = ""
        piece = f"{piece} {word}" if piece else word[:PASSAGE_CHARS_MAX]
    if piece:
        yield piece


def _words(data: Any, depth: int = 0) -> Iterator[str]:
    """Every string in a tree of JSON, keys left out."""
    if depth > DATA_DEPTH_MAX:
        return
    if isinstance(data, str):
        if data.strip():
            yield data.strip()
    elif isinstance(data, Mapping):
        score = data.get("score")
        if isinstance(score, int | float) and score < DATA_SCORE_MIN:
            return
        for value in data.values():
            yield from _words(value, depth + 1)
    elif isinstance(data, list):
        for value in data:
            yield from _words(value, depth + 1)
