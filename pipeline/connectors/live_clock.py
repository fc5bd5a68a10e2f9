"""Event times of live sources: their own timestamps, laid on the wall clock.

A source counts from a moment that nobody knows, and from another one after every connection. What
is known is that nothing arrives before it happened. So at each connection the timestamps are laid
where the packet that travelled fastest arrives when it happened; from there on the source's own
clock counts, which has none of the network's jitter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

# A server may send what it holds at once when one connects: so much is taken for that. What sends
# more is no live source, and plays in real time from when it is read.
BURST_US_MAX = 10_000_000
# Beyond these the source has leapt: its encoder was started again, or its clock was set. Streams
# of one source come interleaved, so the times of its packets run back a little all the time.
AHEAD_US_MAX = 10_000_000
BACK_US_MAX = 2_000_000
# A source whose fastest packet of ten seconds comes later than this has stood still, or its clock
# is slow.
BEHIND_US_MAX = 2_000_000
_SPAN_US = 10_000_000
# A device that stamps with the wall clock is off by no more than it takes to read it.
_DEVICE_US_MAX = 1_000_000


class Arrival(NamedTuple):
    """When a packet came (wall clock), and its own timestamp; both in microseconds."""

    arrival_us: int
    media_us: int


class LiveClock:
    """The event time of each packet of one source, all its streams on one timebase.

    Invariant: between two calls of ``settle`` and two ``leaps`` times differ exactly as the
    source's own timestamps do. That times do not run backwards over those is held where
    records are cut (``live_tracks``), since streams of one source interleave.
    """

    def __init__(self) -> None:
        self.leaps = 0
        self._offset_us: int | None = None
        self._newest_us: int | None = None
        self._least_us: int | None = None  # the shortest way of a packet since _since_us
        self._since_us = 0

    def settle(self, seen: Sequence[Arrival], *, device: bool = False) -> None:
        """Lays the timestamps of a new connection by its first packets; there is at least one.

        ``device``: the timestamps may be those of the wall clock already, and then are kept.
        """
        first = seen[0]
        span_us = max(each.media_us for each in seen) - first.media_us
        offset_us = min(each.arrival_us - each.media_us for each in seen)
        if span_us >= BURST_US_MAX:
            offset_us = first.arrival_us - first.media_us
        if device and abs(offset_us) < _DEVICE_US_MAX:
            offset_us = 0
        self._lay(offset_us, first.arrival_us)

    def laid(self) -> Callable[[int], int]:
        """From the source's own times to event times, as they are laid now."""
        offset_us = self._offset_us
        assert offset_us is not None, "settle comes first"
        return lambda media_us: media_us + offset_us

    def at(self, arrival_us: int, media_us: int) -> int:
        """The event time of a packet that arrives now; may lay the timestamps anew (a leap)."""
        assert self._offset_us is not None, "settle comes first"
        at_us = media_us + self._offset_us
        behind_us = arrival_us - at_us
        back_us = 0 if self._newest_us is None else self._newest_us - at_us
        if -behind_us > AHEAD_US_MAX or back_us > BACK_US_MAX:
            return self._leap(arrival_us, media_us, behind_us)
        if arrival_us - self._since_us >= _SPAN_US and self._least_us is not None:
            if self._least_us > BEHIND_US_MAX:
                return self._leap(arrival_us, media_us, self._least_us)
            # this packet begins the next span: what waited in a network comes fast behind it
            self._least_us, self._since_us = None, arrival_us
        self._least_us = behind_us if self._least_us is None else min(self._least_us, behind_us)
        self._newest_us = at_us if self._newest_us is None else max(self._newest_us, at_us)
        return at_us

    def _leap(self, arrival_us: int, media_us: int, by_us: int) -> int:
        assert self._offset_us is not None
        self.leaps += 1
        self._lay(self._offset_us + by_us, arrival_us)
        self._newest_us = media_us + self._offset_us
        return self._newest_us

    def _lay(self, offset_us: int, arrival_us: int) -> None:
        self._offset_us = offset_us
        self._newest_us = self._least_us = None
        self._since_us = arrival_us
