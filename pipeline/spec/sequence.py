"""How a stage's vector is read where it holds steps in time, and not just numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

STEPS_MAX, WIDTH_MAX = 4096, 1 << 16


class SequenceShape(NamedTuple):
    """``steps`` in time of ``width`` numbers each; or, with ``tokens``, of one token each.

    Numbers: the vector is the rows of all steps, one after another. Tokens: it is their numbers,
    below ``width`` (the size of the vocabulary), and 0 behind the last one.
    """

    steps: int
    width: int
    tokens: bool = False

    @property
    def length(self) -> int:
        """Of the vector."""
        return self.steps if self.tokens else self.steps * self.width

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> SequenceShape:
        """From a card or ``set.json``; raises KeyError, TypeError or ValueError."""
        found = cls(told["steps"], told["width"], told["tokens"])
        if not (0 < found.steps <= STEPS_MAX and 0 < found.width <= WIDTH_MAX):
            raise ValueError(f"a sequence of {found.steps} steps of {found.width}")
        return found


def sequences_of(told: Mapping[str, Mapping[str, Any]]) -> dict[str, SequenceShape]:
    """By stage, as a card or ``set.json`` has them."""
    return {stage: SequenceShape.of(shape) for stage, shape in told.items()}
