"""When records of an open-loop load are due, and sending them so.

A closed loop (send, wait for the answer, send the next) sends nothing while the system stands, so
a stop of two seconds is one bad figure among thousands: coordinated omission. Here every send has
its time before the first is made, and latencies count from that time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Schedule(NamedTuple):
    """Send ``n`` is due at ``begin_us`` and n intervals, whatever came of those before it.

    ``rate``: sends a second, above 0. Times are of any one clock.
    """

    begin_us: int
    rate: float

    def due_us(self, number: int) -> int:
        return self.begin_us + round(number * 1e6 / self.rate)

    def due_by(self, now_us: int) -> int:
        """How many sends are due at ``now_us``."""
        if now_us < self.begin_us:
            return 0
        count = int((now_us - self.begin_us) * self.rate / 1e6) + 1
        # by what ``due_us`` says, which rounds
        while count and self.due_us(count - 1) > now_us:
            count -= 1
        while self.due_us(count) <= now_us:
            count += 1
        return count


class Sent(NamedTuple):
    """``late_us``: how long after its time the latest send was made."""

    records: int
    late_us: int


def send_on_schedule(
    schedule: Schedule,
    count: int,
    send: Callable[[int], None],
    now_us: Callable[[], int],
    wait: Callable[[float], bool],
) -> Sent:
    """Sends ``count`` records, each when it is due or as soon after as ``send`` lets it.

    ``wait(seconds)`` waits so long at most, and gives True where it is told to stop.
    """
    sent = late_us = 0
    while sent < count:
        due = min(schedule.due_by(now_us()), count)
        if due == sent:
            if wait(max(0, schedule.due_us(sent) - now_us()) / 1e6):
                break
            continue
        while sent < due:
            late_us = max(late_us, now_us() - schedule.due_us(sent))
            send(sent)
            sent += 1
    return Sent(sent, late_us)
