"""Streams that come late and memory that forces windows closed: each is said when it happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipeline.lane import Applied, LaneRecord

PERIOD_US = 60_000_000  # what is counted is of the last one of these, at most
LATE_MIN = 5  # late records of a stream: fewer say nothing of most of it
STREAMS_MAX = 100_000  # counted at a time; beyond it all are begun anew
TOLD_MAX = 100  # streams, of an owner: a thousand lines say no more


class _Late:
    """Late records of a stream in this period, and how far behind the worst of them was."""

    __slots__ = ("behind_us", "records")

    def __init__(self) -> None:
        self.records = 0
        self.behind_us = 0


class LateWatch:
    """Is told each record that a live lane applied, in its order.

    Invariant: a stream is told of once, when more than half of its records of a period are late for
    some window, ``LATE_MIN`` of them at least, and ``TOLD_MAX`` streams in all; that the floor is
    forced, once a period.
    """

    def __init__(
        self, warn: Callable[[str], None], topics: Mapping[str, str], late: str, open_bytes: int
    ) -> None:
        """``topics`` by input; ``late``: the topic of late records; ``open_bytes``: the limit."""
        self._warn = warn
        self._topics = topics
        self._to = late
        self._open_bytes = open_bytes
        self._since_us: int | None = None
        self._records: dict[tuple[str, str], int] = {}
        self._late: dict[tuple[str, str], _Late] = {}
        self._told: set[tuple[str, str]] = set()
        self._forced_us: int | None = None  # when that was told last

    def applied(self, record: LaneRecord, applied: Applied, now_us: int) -> None:
        """``record`` is sound: it has a stream."""
        if self._since_us is None or now_us - self._since_us >= PERIOD_US:
            self._begin(now_us)
        key = record.input, record.stream or ""
        seen = self._records.get(key)
        if seen is None and len(self._records) >= STREAMS_MAX:
            self._begin(now_us)
        self._records[key] = (seen or 0) + 1
        if applied.late:
            self._came_late(key, applied.clock_us - record.end_us)
        if applied.forced:
            self._forced(record, now_us)

    def _begin(self, now_us: int) -> None:
        self._since_us = now_us
        self._records.clear()
        self._late.clear()

    def _came_late(self, key: tuple[str, str], behind_us: int) -> None:
        if key in self._told or len(self._told) >= TOLD_MAX:
            return
        late = self._late.setdefault(key, _Late())
        late.records += 1
        late.behind_us = max(late.behind_us, behind_us)
        records = self._records[key]
        if late.records < LATE_MIN or 2 * late.records <= records:
            return
        self._told.add(key)
        name, stream = key
        self._warn(
            f"inputs.{name}: most of stream {stream!r} comes late: {late.records} of its "
            f"{records} records, up to {late.behind_us / 1e6:.1f} s behind the clock that closes "
            f"its windows; they are in {self._to}. Set the sender's clock, send the streams of "
            f"{self._topics[name]} side by side in the order of time, or raise its "
            "out_of_orderness or windows.idle by that"
        )

    def _forced(self, record: LaneRecord, now_us: int) -> None:
        if self._forced_us is not None and now_us - self._forced_us < PERIOD_US:
            return
        self._forced_us = now_us
        self._warn(
            f"limits.open_bytes = {self._open_bytes} bytes: open windows hold more, so the oldest "
            f"are closed before their time (with a record of inputs.{record.input}), and what "
            "still comes for them is late; raise it, shorten the windows or windows.idle, or see "
            "why an input is silent (motet_windows_forced_total counts on)"
        )
