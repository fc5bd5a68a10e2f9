"""A pipeline that dead-letters too much stops, before it has emptied a topic into another."""

from __future__ import annotations

from collections import deque

from pipeline.errors import MotetError

PERIOD_US = 60_000_000
LETTERS_MIN = 20
_BUCKET_US = 1_000_000


class TooManyDeadLetters(MotetError):
    """``limits.dead_letter_rate`` is reached; nothing after the last commit is lost."""


class DeadLetterRate:
    """Share of one input's records over the last minute that were dead-lettered.

    Invariant: raises at or above the limit, from ``LETTERS_MIN`` dead letters on.
    """

    def __init__(self, input: str, limit: float) -> None:
        self._input = input
        self._limit = limit
        self._buckets: deque[list[int]] = deque()  # [second, records, letters]
        self._records = 0
        self._letters = 0

    def count(self, now_us: int, records: int = 0, letters: int = 0, why: str = "") -> None:
        """``why`` the letter was written: the user is told the newest reason."""
        second = now_us // _BUCKET_US
        if not self._buckets or self._buckets[-1][0] != second:
            self._buckets.append([second, 0, 0])
            while self._buckets[0][0] <= second - PERIOD_US // _BUCKET_US:
                _, old_records, old_letters = self._buckets.popleft()
                self._records -= old_records
                self._letters -= old_letters
        self._buckets[-1][1] += records
        self._buckets[-1][2] += letters
        self._records += records
        self._letters += letters
        if letters and self._letters >= LETTERS_MIN:
            self._check(why)

    def _check(self, why: str) -> None:
        if self._letters >= self._limit * self._records:
            raise TooManyDeadLetters(
                f"inputs.{self._input}: {self._letters} of {self._records} records of the last "
                f"minute were dead-lettered, at or above limits.dead_letter_rate = "
                f"{round(100 * self._limit, 4):g}%{f' (the newest: {why})' if why else ''}; mend "
                "the sender or the input's type, or raise the limit to see them on the "
                "dead-letter topic"
            )
