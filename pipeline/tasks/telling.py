"""What a run says on its own while it runs: warnings, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

QUIET_US = 3_000_000  # nothing new for so long: the user is told why
AGAIN_US = 10_000_000


class Telling:
    """Says each warning as it comes, and what is waited for while there is nothing to show."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._windows = 0
        self._since_us: int | None = None
        self._told_us: int | None = None

    def look(
        self, now_us: int, windows: int, waiting: Sequence[str], warnings: Sequence[str]
    ) -> None:
        """``windows`` committed so far; told every tick of the host."""
        for line in warnings:
            self._say(f"motet: warning: {line}")
        if self._since_us is None or windows != self._windows:
            self._windows, self._since_us, self._told_us = windows, now_us, None
            return
        quiet = now_us - self._since_us >= QUIET_US
        told = self._told_us is not None and now_us - self._told_us < AGAIN_US
        if quiet and not told:
            self._told_us = now_us
            for line in waiting or ["waiting for records: no window is open"]:
                self._say(f"motet: {line}")
