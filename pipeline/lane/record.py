"""Records and windows as a lane sees them: times, sizes, offsets, and an opaque body.

What is made for every record is no frozen dataclass: that takes four times as long to make.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(slots=True, eq=False)
class LaneRecord:
    """One record of one input of a lane; ``stream`` is None where the record is unsound.

    It covers ``[ts_us, end_us)``, ``ts_us < end_us``; ``append_us`` is the log's timestamp.
    ``bar_us`` is set when the record is applied: it belongs only to windows that end after it.
    ``mark`` is the lane's own: the record's place among the kept offsets.
    """

    input: str
    offset: int
    append_us: int
    stream: str | None
    ts_us: int = 0
    end_us: int = 0
    size_bytes: int = 0
    body: Any = None
    bar_us: int = field(default=0, init=False)
    mark: list[int] | None = field(default=None, init=False, repr=False)


class ClosedWindow(NamedTuple):
    """A window whose content is final: for each input its records in log order.

    ``content`` holds every kept record that overlaps the window or the lane's context around
    it; ``present`` (sorted) names the inputs of which a record overlaps the window itself.
    """

    stream: str
    start_us: int
    end_us: int
    content: dict[str, list[LaneRecord]]
    present: tuple[str, ...]


class Holding(NamedTuple):
    """Why the earliest open window of a lane is open, and what would close it.

    ``newest`` names the gating inputs whose clock is below the window's end, the one furthest
    behind first, each with the greatest end of the stream's records there (None: none is kept).
    The window closes when each has a record that ends B past ``end_us``; or when the floor has
    risen by ``floor_us_left``.
    """

    stream: str
    start_us: int
    end_us: int
    newest: dict[str, int | None]
    floor_us_left: int


class Applied(NamedTuple):
    """What applying one record did.

    ``late`` holds the start times of the windows that the record overlaps and missed,
    ascending; ``clock_us`` the clock that it missed them by; ``fused`` counts its others.
    ``forced`` counts the floor's rises because more than ``open_bytes`` were kept.
    """

    closed: list[ClosedWindow]
    late: tuple[int, ...]
    clock_us: int
    fused: int
    forced: int = 0


@dataclass(frozen=True, slots=True)
class LaneCut:
    """Everything that recovery needs of one lane; sizes do not depend on streams or windows.

    By input: ``positions`` (next offset neither applied nor skipped) and ``froms`` (the least
    offset that must be read again, else the position). ``floor_us`` and ``top_us`` (the
    largest end of an emitted window) are None until there is one.
    """

    number: int
    positions: dict[str, int]
    froms: dict[str, int]
    floor_us: int | None = None
    top_us: int | None = None
