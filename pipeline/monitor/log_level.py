"""The level of the run's logs, asked and changed while it runs (``/api/log-level``)."""

from __future__ import annotations

from pipeline import logs
from pipeline.errors import InvalidInput
from pipeline.monitor.handler import Answer, Post, Request, Route, text

PATH = "/api/log-level"
BODY_BYTES_MAX = 16


def level_routes() -> dict[str, Route]:
    return {PATH: lambda _request: text(200, logs.level())}


def level_posts() -> dict[str, Post]:
    """The body is the level. The host tells its actors of the change."""
    return {PATH: Post(_change, BODY_BYTES_MAX)}


def _change(_request: Request, body: bytes) -> Answer:
    try:
        logs.set_level(body.decode("utf-8", "replace").strip(), "body")
    except InvalidInput as error:
        return text(400, str(error))
    return text(200, logs.level())
