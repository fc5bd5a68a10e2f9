"""The trace of one window: the same in every process that has a part in it, without a word.

Ids are hashes of the window's own name, so the halves of an owner need not tell each other which
windows are sampled, nor the ids of their spans; and a replay gives the same ones.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

PARENT = "traceparent"
SAMPLED = 1  # of the flags

Trace = tuple[tuple[str, bytes], ...]


class WindowTrace(NamedTuple):
    """``span_id`` is that of the window's own span; ``parent_id``: of whom it goes on with."""

    trace_id: int
    span_id: int
    parent_id: int | None
    more: Trace  # other headers that go on with it

    def headers(self) -> Trace:
        """What the result says: its readers go on with the window's span."""
        parent = f"00-{self.trace_id:032x}-{self.span_id:016x}-01".encode()
        return ((PARENT, parent), *self.more)

    def child_id(self, name: str) -> int:
        return _number(f"{self.trace_id:x} {self.span_id:x} {name}", 8)


def window_trace(
    pipeline: str, stream: str, start_us: int, trace: Trace, share: float
) -> WindowTrace | None:
    """None where the window is not sampled.

    Whoever sent the trace that it goes on with has decided already; of windows without one
    ``share`` are sampled. ``trace``: sound headers (``pipeline/tasks/trace_context.py``).
    """
    name = f"{pipeline} {start_us} {stream}"
    if trace:
        _version, trace_id, parent_id, flags = trace[0][1].split(b"-")
        if not int(flags, 16) & SAMPLED:
            return None
        span_id = _number(f"{trace_id.decode()} {name}", 8)
        return WindowTrace(int(trace_id, 16), span_id, int(parent_id, 16), trace[1:])
    if _number(f"sample {name}", 8) >= share * 2**64:
        return None
    return WindowTrace(_number(f"trace {name}", 16), _number(f"span {name}", 8), None, ())


def _number(text: str, size_bytes: int) -> int:
    """Never 0, which is no id."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:size_bytes]) or 1
