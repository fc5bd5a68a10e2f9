"""The only module that reads the time: hosts ask here and tell the core."""

from __future__ import annotations

import time


def wall_us() -> int:
    """Microseconds since the epoch, UTC; comparable with Kafka's timestamps."""
    return time.time_ns() // 1000


def monotonic_us() -> int:
    """Microseconds of a clock that never steps; for timeouts and intervals."""
    return time.monotonic_ns() // 1000


def thread_us() -> int:
    """Microseconds that the calling thread has computed; a busy machine does not add to them."""
    return time.thread_time_ns() // 1000
