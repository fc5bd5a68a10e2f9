"""What visitors send on its way to the topics: one thread, one idempotent producer."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence

from pipeline import clock
from pipeline.monitor.speak_session import Refusal
from pipeline.slot.ports import Connector, OutRecord

_log = logging.getLogger(__name__)

QUEUE_BYTES_MAX = 16 << 20
LINGER_S = 30.0  # without a record the producer is closed; the next one makes another
FAILED_US = 2_000_000  # so long after a failure visitors are told of it, and nothing is tried
CLOSE_S = 5.0


class Sender:
    """Takes records from any thread without waiting, and sends them in the order they came.

    Invariant: whoever called ``check`` may ``offer`` what one request gave; no more than
    QUEUE_BYTES_MAX and one such piece from each visitor wait. A failure drops what waits, and is
    what ``check`` raises for a while.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._changed = threading.Condition()
        self._queue: deque[OutRecord] = deque()
        self._waiting_bytes = 0
        self._thread: threading.Thread | None = None
        self._problem = ""
        self._problem_us: int | None = None
        self._closed = False

    def check(self) -> None:
        """Raises Refusal where nothing can be taken just now."""
        with self._changed:
            if self._closed:
                raise Refusal(410, "the run has ended")
            failed_us = self._problem_us
            if failed_us is not None and clock.monotonic_us() - failed_us < FAILED_US:
                raise Refusal(503, f"it cannot be sent on: {self._problem}", retry_s=2)
            if self._waiting_bytes > QUEUE_BYTES_MAX:
                raise Refusal(503, "the broker is slower than what comes in", retry_s=1)

    def offer(self, records: Sequence[OutRecord]) -> None:
        with self._changed:
            if self._closed or not records:
                return
            self._queue.extend(records)
            self._waiting_bytes += sum(len(record.value or b"") for record in records)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="monitor-speak", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self) -> None:
        """What waits is sent still, if that takes no longer than CLOSE_S."""
        with self._changed:
            self._closed = True
            thread = self._thread
            self._changed.notify_all()
        if thread is not None:
            thread.join(CLOSE_S)

    # -- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            publisher = self._connector.publisher()
            try:
                while records := self._next():
                    for record in records:
                        publisher.send(record)
                    publisher.flush()  # each is small, and a failure is known at once
            finally:
                publisher.close()
        except Exception as error:  # whatever it is, the run that is looked at goes on
            self._fail(error)

    def _next(self) -> list[OutRecord]:
        """All that waits; nothing once the thread shall end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed, LINGER_S)
            records = list(self._queue)
            self._queue.clear()
            self._waiting_bytes = 0
            if not records:
                self._thread = None
            return records

    def _fail(self, error: Exception) -> None:
        words = " ".join(str(error).split()) or type(error).__name__
        _log.warning("motet: what was spoken into the page is lost: %s", words)
        with self._changed:
            self._problem, self._problem_us = words, clock.monotonic_us()
            self._queue.clear()
            self._waiting_bytes = 0
            self._thread = None
