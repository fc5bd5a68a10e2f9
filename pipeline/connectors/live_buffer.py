"""What waits between live sources, which do not wait, and a broker, which may be slow."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from pipeline import clock
from pipeline.connectors.files import FileRecord

BUFFER_BYTES = 64 << 20
_OVERHEAD_BYTES = 1_000  # of a record: its headers, and what Python adds
_TURN_S = 0.1  # how long a stop may go unseen
_SAY_AGAIN_US = 10_000_000


class LiveBuffer:
    """Records of all live sources in the order in which they came.

    Invariant: it holds at most ``bytes_max``, or one record; over it the oldest goes, since of a
    live source the newest counts, and is counted in ``dropped`` and said. ``put`` never waits.
    """

    def __init__(self, bytes_max: int, sources: int, say: Callable[[str], None]) -> None:
        self.dropped = 0
        self._bytes_max = bytes_max
        self._open = sources
        self._say = say
        self._said_us: int | None = None
        self._records: deque[FileRecord] = deque()
        self._bytes = 0
        self._changed = threading.Condition()

    def put(self, record: FileRecord) -> None:
        with self._changed:
            before = self.dropped
            self._records.append(record)
            self._bytes += _size(record)
            while self._bytes > self._bytes_max and len(self._records) > 1:
                self._bytes -= _size(self._records.popleft())
                self.dropped += 1
            told = self._due_to_say() if self.dropped > before else None
            self._changed.notify()
        if told is not None:
            self._say(told)

    def ended(self) -> None:
        """One source has nothing more to give."""
        with self._changed:
            self._open -= 1
            self._changed.notify()

    def take(self, wait_s: float) -> FileRecord | None:
        """The oldest record, waited for; None where none came or all sources have ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._records or not self._open, wait_s)
            if not self._records:
                return None
            record = self._records.popleft()
            self._bytes -= _size(record)
            return record

    @property
    def over(self) -> bool:
        """Whether all sources have ended and all of their records were taken."""
        with self._changed:
            return not self._open and not self._records

    def _due_to_say(self) -> str | None:
        now_us = clock.monotonic_us()
        if self._said_us is not None and now_us - self._said_us < _SAY_AGAIN_US:
            return None
        self._said_us = now_us
        return (
            "the broker takes less than the live sources give: records dropped so far, oldest "
            f"first: {self.dropped} (--buffer says how much waits for it)"
        )


def _size(record: FileRecord) -> int:
    return len(record.payload) + _OVERHEAD_BYTES


def mixed(
    buffer: LiveBuffer,
    files: Iterator[FileRecord],
    shift_us: int,
    stop: threading.Event,
    end: Callable[[], None],
) -> Iterator[FileRecord]:
    """Live records as they come, and those of files in real time, ``shift_us`` after their times.

    Ends when all sources have; after ``stop``, once ``end`` has ended the live ones and what they
    still held is taken.
    """
    following = next(files, None)
    while not stop.is_set():
        wait_s = _TURN_S
        if following is not None:
            wait_s = min(wait_s, (following.due_us + shift_us - clock.wall_us()) / 1e6)
            if wait_s <= 0:
                yield following
                following = next(files, None)
                continue
        record = buffer.take(wait_s)
        if record is not None:
            yield record
        elif buffer.over:
            if following is None:
                return
            stop.wait(wait_s)
    end()
    while (record := buffer.take(0)) is not None:
        yield record
