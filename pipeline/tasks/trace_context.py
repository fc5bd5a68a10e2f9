"""Which trace a result goes on: the W3C Trace Context in the headers of what it was made of.

A window is fed by many records, and a result has room for one parent. It is that of the record
which was appended last among the newest of each input: the window waited for it, so its way is
the one whose length a person wants to see. It hangs on the log alone, and a replay says the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.lane import ClosedWindow, LaneRecord
from pipeline.slot.ports import Headers

PARENT, STATE = "traceparent", "tracestate"
STATE_BYTES_MAX = 512  # what the standard asks everybody to pass on
# version 00; all zeros are no trace, and no span
_PARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

Trace = tuple[tuple[str, bytes], ...]


def trace_of(window: ClosedWindow) -> Trace:
    """The headers that its result passes on, empty where no record of it has a sound one."""
    found: tuple[int, str, Trace] | None = None
    for name in window.present:
        newest = _newest(window, window.content[name])
        headers = trace_headers(newest.body.log.headers)
        if headers:
            here = (newest.append_us, name, headers)
            found = here if found is None else max(found, here)
    return () if found is None else found[2]


def trace_headers(headers: Headers) -> Trace:
    """``traceparent``, and ``tracestate`` where it fits; what breaks the standard is no trace."""
    parent = state = None
    for name, value in headers:  # of every window: most headers are neither
        if name == PARENT:
            parent = value
        elif name == STATE:
            state = value
    if parent is None or _PARENT.fullmatch(parent) is None:
        return ()
    if not state or len(state) > STATE_BYTES_MAX:
        return ((PARENT, parent),)
    return (PARENT, parent), (STATE, state)


def _newest(window: ClosedWindow, records: Sequence[LaneRecord]) -> LaneRecord:
    """The last in the log of those that overlap the window itself."""
    for record in reversed(records):
        if record.end_us > window.start_us and record.ts_us < window.end_us:
            return record
    raise AssertionError("an input that is present has a record in the window")
