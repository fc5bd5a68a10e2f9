"""How much of a window its records cover."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Timed(Protocol):
    """What covers ``[ts_us, end_us)``."""

    @property
    def ts_us(self) -> int: ...

    @property
    def end_us(self) -> int: ...


def coverage(records: Sequence[Timed], start_us: int, end_us: int) -> float:
    """The share, 0.0 to 1.0, of ``[start_us, end_us)`` that lies in at least one record."""
    for record in records:  # most windows lie in one
        if record.ts_us <= start_us and record.end_us >= end_us:
            return 1.0
    covered_us, reached_us = 0, start_us
    for ts_us, until_us in sorted((record.ts_us, record.end_us) for record in records):
        begin_us = max(ts_us, reached_us)
        until_us = min(until_us, end_us)
        if begin_us < until_us:
            covered_us += until_us - begin_us
            reached_us = until_us
    return covered_us / (end_us - start_us)
