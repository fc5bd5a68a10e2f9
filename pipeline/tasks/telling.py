"""What a run says on its own while it runs: warnings, what fails, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.tasks.stage_health import StageTrouble

QUIET_US = 3_000_000  # nothing new for so long: the user is told why
AGAIN_US = 10_000_000
FAILING_AGAIN_US_MAX = 300_000_000  # each time twice as long, from AGAIN_US up to this


@dataclass(slots=True)
class _Told:
    """What was said last of a stage that fails, and how long nothing more is said of it."""

    failed: int
    at_us: int
    pause_us: int = AGAIN_US


class Telling:
    """Says each warning as it comes, a stage that fails on most of its windows now and again,
    and what is waited for while there is nothing to show.

    ``window_us``: how long a window is. Once results have come, silence for two windows is no news.
    """

    def __init__(self, say: Callable[[str], None], window_us: int = 0) -> None:
        self._say = say
        self._window_us = window_us
        self._windows = 0
        self._since_us: int | None = None
        self._told_us: int | None = None
        self._failing: dict[str, _Told] = {}

    def look(
        self,
        now_us: int,
        windows: int,
        waiting: Sequence[str],
        warnings: Sequence[str],
        troubles: Sequence[StageTrouble] = (),
    ) -> None:
        """``windows`` committed so far; told every tick of the host."""
        for line in warnings:
            self._say(f"motet: warning: {line}")
        self._tell_failing(now_us, troubles)
        if self._since_us is None or windows != self._windows:
            self._windows, self._since_us, self._told_us = windows, now_us, None
            return
        quiet_us = max(QUIET_US, 2 * self._window_us) if windows else QUIET_US
        quiet = now_us - self._since_us >= quiet_us
        told = self._told_us is not None and now_us - self._told_us < AGAIN_US
        if quiet and not told:
            self._told_us = now_us
            for line in waiting or ["waiting for records: no window is open"]:
                self._say(f"motet: {line}")

    def _tell_failing(self, now_us: int, troubles: Sequence[StageTrouble]) -> None:
        for one in troubles:
            told = self._failing.get(one.stage)
            if one.over:
                if told is not None:
                    self._say(f"motet: stages.{one.stage} works again")
                    del self._failing[one.stage]
            elif told is None:
                self._failing[one.stage] = _Told(one.failed, now_us)
                self._say(f"motet: warning: {one}")
            elif one.failed != told.failed and now_us - told.at_us >= told.pause_us:
                pause_us = min(2 * told.pause_us, FAILING_AGAIN_US_MAX)
                self._failing[one.stage] = _Told(one.failed, now_us, pause_us)
                self._say(f"motet: warning: {one}")
