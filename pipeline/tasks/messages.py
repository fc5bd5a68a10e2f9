"""What the ingest half of a slot tells its fusion half, in lane order.

Plain tuples: thousands of them cross a process border every second.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pipeline.batching.batch import RecordId
from pipeline.lane.record import LaneCut
from pipeline.slot.ports import OutRecord
from pipeline.tasks.trace_context import Trace


class Opened(NamedTuple):
    """A window has closed in its lane; ``stages`` are those whose outputs will follow.

    ``append_us``: the log's timestamp of the record that closed it; None where none did.
    ``trace``: headers of the trace that its result goes on with.
    """

    lane: int
    window: int  # number of the window in its lane, rising
    stream: str
    start_us: int
    end_us: int
    present: tuple[str, ...]
    missing: tuple[str, ...]
    coverage: dict[str, float]
    stages: tuple[str, ...]
    append_us: int | None = None
    trace: Trace = ()
    closed_us: int | None = None  # wall clock, of a window whose spans are told


class Settled(NamedTuple):
    """One stage of a window is done. ``records`` names what it read where it failed."""

    lane: int
    window: int
    stage: str
    output: Any
    failure: str | None
    records: tuple[RecordId, ...]
    dead_letters: tuple[OutRecord, ...]


class Produced(NamedTuple):
    """A late or unsound record, ready for its topic."""

    lane: int
    record: OutRecord


class Counts(NamedTuple):
    """What the ingest side counted since the lane's cut before; counted where it is committed.

    ``records`` were read, ``late`` of them missed a window at least, ``forced`` rises of the
    floor; ``fates`` count pairs of record and window by (input, fate); ``incomplete`` the
    windows that an input is missing in, by input.
    """

    records: dict[str, int]
    record_bytes: dict[str, int]
    late: int
    forced: int
    fates: dict[tuple[str, str], int]
    incomplete: dict[str, int]


class Cut(NamedTuple):
    """Everything before this in the lane belongs to the cut.

    ``last``: no record of the lane follows, so there is nothing to collect commits for.
    """

    lane: int
    cut: LaneCut
    counts: Counts
    last: bool = False


Message = Opened | Settled | Produced | Cut
Deliveries = dict[int, list[Message]]  # by slot, in order
