"""Stages that fail window after window: since when, how often, and of what.

A window that one stage fails on is one entry of the dead-letter topic and ends no run. So a stage
that gives nothing at all would be found out only by who looks there: it is said instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pipeline.errors import in_one_line
from pipeline.spec.units import format_rfc3339

PERIOD_US = 10_000_000  # a stage is judged by this period and the one before
ERROR_SHOWN = 200


class StageTrouble(NamedTuple):
    """A stage that fails on more than half of its windows, or did so last.

    ``windows`` were settled since the first of its failures, at ``since_us`` by the wall clock;
    of these it ``failed`` on so many, on the newest with ``error``, which is one line. ``over``:
    it works again.
    """

    stage: str
    windows: int
    failed: int
    since_us: int
    error: str
    over: bool = False

    def __str__(self) -> str:
        noun = "window" if self.windows == 1 else "windows"
        return (
            f"stages.{self.stage}: it failed on {self.failed} of {self.windows} {noun} since "
            f"{format_rfc3339(self.since_us, 'seconds')} (the newest: {self.error}); results go on "
            "without it; `motet dlq list FILE` shows each"
        )


class StageHealth:
    """One stage's windows as they are settled.

    It is in trouble from a failure on with which more than half of the windows of this period and
    the one before have failed, until less than half of them have. A period begins with a window:
    where they are rare, the newest two are looked at, however long ago.
    """

    def __init__(self) -> None:
        self.failed_total = 0
        self._newer = [0, 0]  # windows, and how many of them failed
        self._older = [0, 0]
        self._period_us: int | None = None
        self._row = self._row_us = 0  # failures since the last output, and when the first was
        self._troubled = False
        self._since_us = self._windows = self._failed = 0  # of the trouble, or the one before
        self._error = ""

    def settled(self, failure: str | None, now_us: int) -> None:
        failed = failure is not None
        if self._period_us is None:
            self._period_us = now_us
        elif now_us - self._period_us >= PERIOD_US:
            self._older, self._newer, self._period_us = self._newer, [0, 0], now_us
        self._newer[0] += 1
        if not failed and not self._troubled:
            self._row = 0  # nothing begins with a good window, and most are
            return
        self._newer[1] += failed
        if failure is not None:
            self.failed_total += 1
            self._error = failure
            self._row_us = now_us if self._row == 0 else self._row_us
        self._row = self._row + 1 if failed else 0
        windows, bad = self._newer[0] + self._older[0], self._newer[1] + self._older[1]
        before = self._troubled
        # It begins with a failure: a good window may begin a period, and leave more bad ones.
        self._troubled = (before or failed) and 2 * bad > windows - before
        if self._troubled and not before:
            self._since_us, self._windows, self._failed = self._row_us, self._row - 1, self._row - 1
        if self._troubled:
            self._windows += 1
            self._failed += failed

    def trouble(self, stage: str, now_us: int, wall_us: int) -> StageTrouble | None:
        """The present one or, ``over``, the last; None where there was none."""
        if not self._failed:
            return None
        error = in_one_line(" ".join(self._error.split()))
        if len(error) > ERROR_SHOWN:
            error = f"{error[: ERROR_SHOWN - 3]}..."
        since_us = wall_us - (now_us - self._since_us)
        over = not self._troubled
        return StageTrouble(stage, self._windows, self._failed, since_us, error, over)


def together(troubles: Iterable[StageTrouble]) -> tuple[StageTrouble, ...]:
    """Those of several owners of slots, each stage once: what stands is added up."""
    found: dict[str, StageTrouble] = {}
    for one in troubles:
        other = found.get(one.stage)
        if other is None or (other.over and not one.over):
            found[one.stage] = one
        elif other.over == one.over:
            found[one.stage] = one._replace(
                windows=one.windows + other.windows,
                failed=one.failed + other.failed,
                since_us=min(one.since_us, other.since_us),
            )
    return tuple(found.values())
