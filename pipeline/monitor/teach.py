"""What a monitor serves of "Teach it": it is given, and knows nothing of labels and training."""

from __future__ import annotations

from typing import Protocol

import orjson

from pipeline.monitor.handler import Answer, Post, Request, Route

PATH = "/api/teach"


class Teach(Protocol):
    """``pipeline.teaching.Teaching``; its paths begin with PATH."""

    def routes(self) -> dict[str, Route]: ...

    def posts(self) -> dict[str, Post]: ...

    def close(self) -> None: ...


def no_teaching(_: Request) -> Answer:
    """Where the file does not allow it: the page shows nothing of it."""
    return Answer(200, orjson.dumps({"ingest": False}), "application/json")
