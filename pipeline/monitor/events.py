"""Results as server-sent events (the WHATWG's event stream format)."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

from pipeline.monitor.reader import Reader, Result

CONTENT_TYPE = "text/event-stream; charset=utf-8"
HEARTBEAT_S = 10.0
RETRY_MS = 2_000
_LINE_ENDS = re.compile(r"\r\n|\r|\n")
_NO_ID = re.compile(r"[\r\n\0]")  # a stream's id may hold them; an event's may not


def send_events(reader: Reader, write: Callable[[bytes], object]) -> None:
    """Writes until the reader is dropped or closed; raises OSError once the client is gone."""
    write(b"retry: %d\n\n" % RETRY_MS)
    while True:
        results, problem = reader.take(HEARTBEAT_S)
        if results:
            write(b"".join(map(result_event, results)))
        if problem is not None:
            write(event("problem", problem))
        if reader.dropped:
            write(event("dropped", "results came faster than they were read; connect again"))
            return
        if reader.closed:
            write(event("closed", "the run has ended"))
            return
        if not results and problem is None:
            write(b": still here\n\n")


def result_event(result: Result) -> bytes:
    """``id`` is the result's ``ce_id``; what would end its line is percent-encoded."""
    id = event_id(result.id)
    return f"id: {id}\n{_data(result.value.decode('utf-8', 'replace'))}\n".encode()


def event(name: str, words: str) -> bytes:
    return f"event: {name}\n{_data(words)}\n".encode()


def event_id(ce_id: str) -> str:
    return _NO_ID.sub(lambda found: quote(found[0]), ce_id)


def _data(words: str) -> str:
    return "".join(f"data: {line}\n" for line in _LINE_ENDS.split(words))
