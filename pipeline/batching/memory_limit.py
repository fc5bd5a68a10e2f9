"""How many items a device can hold at once, learnt from its out-of-memory errors."""

from __future__ import annotations

_AGAIN_AFTER = 32  # calls at the limit before twice as many are tried


class MemoryLimit:
    """Half of what did not fit, then step by step back to full size.

    What does not fit today (long clips, another process on the device) may fit again later: after
    ``_AGAIN_AFTER`` calls that were as large as the limit allows it is doubled, until it binds no
    more. It decides only how much runs at once, never what comes out.
    """

    def __init__(self) -> None:
        self._limit: int | None = None
        self._full_calls = 0

    def limit(self, wanted: int) -> int:
        """How many of ``wanted`` items to run at once: at least 1."""
        return max(1, wanted if self._limit is None else min(wanted, self._limit))

    def exceeded(self, count: int) -> None:
        """So many items did not fit."""
        self._limit = max(1, min(count // 2, self._limit or count))
        self._full_calls = 0

    def held(self, count: int) -> None:
        """So many items fitted."""
        if self._limit is None or count < self._limit:
            return
        self._full_calls += 1
        if self._full_calls >= _AGAIN_AFTER:
            self._limit *= 2
            self._full_calls = 0
            if self._limit > _NEVER_BINDS:
                self._limit = None


_NEVER_BINDS = 100_000  # the most that ``batch_max`` may be
