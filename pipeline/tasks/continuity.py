"""Whether the timestamps of audio streams go on as their samples do: gaps, overlaps and drift.

A window takes each record's samples from where its own timestamp says, so a fault of one
timestamp shifts nothing that comes later; but it tears or folds the sound there. Nothing here
decides anything: it is counted, and the first time that a stream drifts far it is said.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.record import MediaRecord
from pipeline.tasks.figures import Figures

# More than timestamps in whole milliseconds are off by, and less than any frame of a codec lasts.
JUMP_US = 5_000
DRIFT_TOLD_US = 100_000
DRIFT_PERIOD_US = 10_000_000
STREAMS_MAX = 100_000  # remembered; beyond it all are begun anew


class _Run:
    """A stream since its last gap or overlap: where it began, and what has come of it."""

    __slots__ = ("began_us", "end_us", "rate", "samples", "told")

    def __init__(self, record: MediaRecord, told: bool) -> None:
        self.began_us = record.ts_us
        self.rate = record.facts.rate
        self.samples = 0
        self.end_us = record.ts_us
        self.told = told


class Continuity:
    """Looks at each audio record once, in the order in which its lane applies it.

    A *gap* is a record that begins more than JUMP_US after the one before it of its stream
    ended, an *overlap* one that begins as much earlier (records that changed places are both).
    Between two of them a stream is a run, and its *drift* is how far a record's timestamp is
    from where the samples of the run put it: a sender whose clock and whose sound card disagree
    drifts without any gap. Times are whole numbers, so a run of days adds up no rounding.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        """``warn`` is told, once for each stream, that its drift has passed DRIFT_TOLD_US."""
        self._warn = warn
        self._runs: dict[tuple[str, str], _Run] = {}
        self._gaps: dict[str, int] = {}
        self._overlaps: dict[str, int] = {}
        self._newer: dict[str, int] = {}  # the largest drift of this period and of the one before
        self._older: dict[str, int] = {}
        self._since_us: int | None = None

    def applied(self, record: MediaRecord) -> None:
        key, facts = (record.input, record.stream), record.facts
        run = self._runs.get(key)
        if run is None:
            if len(self._runs) >= STREAMS_MAX:
                self._runs.clear()
            run = self._runs[key] = _Run(record, told=False)
            self._gaps.setdefault(record.input, 0)
            self._overlaps.setdefault(record.input, 0)
        else:
            off_us = record.ts_us - run.end_us
            if off_us > JUMP_US:
                self._gaps[record.input] += 1
            elif off_us < -JUMP_US:
                self._overlaps[record.input] += 1
            if not -JUMP_US <= off_us <= JUMP_US or run.rate != facts.rate:
                run = self._runs[key] = _Run(record, run.told)
        drift_us = record.ts_us - run.began_us - run.samples * 1_000_000 // run.rate
        if abs(drift_us) > self._newer.get(record.input, -1):
            self._newer[record.input] = abs(drift_us)
        if abs(drift_us) > DRIFT_TOLD_US and not run.told:
            run.told = True
            self._tell(record, run, drift_us)
        run.samples += facts.samples
        run.end_us = record.end_us

    def figures(self, into: Figures, now_us: int) -> None:
        """Counts since the start; of drift the largest in the last one to two periods."""
        if self._since_us is None:
            self._since_us = now_us
        elif now_us - self._since_us >= DRIFT_PERIOD_US:
            self._older, self._newer, self._since_us = self._newer, {}, now_us
        for name, gaps in self._gaps.items():
            into.count("motet_audio_gaps_total", gaps, name)
            into.count("motet_audio_overlaps_total", self._overlaps[name], name)
            drift_us = max(self._newer.get(name, 0), self._older.get(name, 0))
            into.gauge("motet_audio_drift_seconds", drift_us / 1e6, name)

    def _tell(self, record: MediaRecord, run: _Run, drift_us: int) -> None:
        side = "ahead of" if drift_us > 0 else "behind"
        lasted_us = max(1, record.ts_us - run.began_us)
        self._warn(
            f"inputs.{record.input}: the timestamps of stream {record.stream!r} run "
            f"{abs(drift_us) / 1e3:.0f} ms {side} its samples after {lasted_us / 1e6:.0f} s "
            f"without a gap, as if its rate were {run.samples * 1e6 / lasted_us:.1f} Hz and not "
            f"{run.rate} Hz: let the sender count its samples, or state the rate that it has"
        )
