"""One client of the results: a bounded queue between the thread that reads and its connection."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

QUEUE_RECORDS = 512
QUEUE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Result:
    """One committed result: ``id`` is its ``ce_id``, ``value`` its JSON as it stands in Kafka."""

    id: str
    stream: str
    value: bytes
    lane: int


@dataclass(slots=True)
class Reader:
    """One client: a bounded queue. A client that lets it fill up is dropped, and told so.

    Invariant: results are handed over in log order (of each lane) without a gap, until
    ``dropped``.
    """

    stream: str | None
    last: int
    after: str | None  # the id of the last result that the client has
    changed: threading.Condition
    results: deque[Result] = field(default_factory=deque)
    waiting_bytes: int = 0
    dropped: bool = False
    closed: bool = False
    problem: str | None = None

    def take(self, timeout_s: float) -> tuple[list[Result], str | None]:
        """What has come (nothing after the timeout), and a problem of the reading, told once."""
        with self.changed:
            self.changed.wait_for(
                lambda: self.results or self.dropped or self.closed or self.problem, timeout_s
            )
            taken, problem = list(self.results), self.problem
            self.results.clear()
            self.waiting_bytes, self.problem = 0, None
            return taken, problem

    def wants(self, result: Result) -> bool:
        return self.stream is None or self.stream == result.stream

    def put(self, result: Result) -> None:
        full = self.waiting_bytes + len(result.value) > QUEUE_BYTES and self.results
        if full or len(self.results) >= QUEUE_RECORDS:
            self.dropped = True
            self.results.clear()
        if not self.dropped:
            self.results.append(result)
            self.waiting_bytes += len(result.value)
