"""The paths of contract section 6 and what each answers."""

from __future__ import annotations

import platform
from functools import partial
from importlib.resources import files
from urllib.parse import quote

import orjson

from pipeline import __version__
from pipeline.errors import MotetError
from pipeline.monitor.events import CONTENT_TYPE as EVENTS
from pipeline.monitor.events import send_events
from pipeline.monitor.exposition import CONTENT_TYPE as EXPOSITION
from pipeline.monitor.exposition import exposition
from pipeline.monitor.handler import Answer, Request, Route, Stream, text
from pipeline.monitor.live import Live
from pipeline.monitor.media import Asked, Busy, MediaFinder
from pipeline.monitor.results import ResultFeed, TooManyReaders
from pipeline.monitor.sampler import Sampler
from pipeline.monitor.state import StateWriter
from pipeline.spec import PipelineSpec
from pipeline.spec.change_store import ChangeStore
from pipeline.tasks.changing import resolved
from pipeline.tasks.figures import Figures

LAST_MAX = 200
OPEN_S = 10.0
FOUND_MAX = 50  # streams of one search
_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}


class Routes:
    """Answers from the run that is shown; every method may be called by any thread."""

    def __init__(
        self,
        spec: PipelineSpec,
        sampler: Sampler,
        feed: ResultFeed,
        finder: MediaFinder,
        live: Live | None,
    ) -> None:
        self._spec = spec
        self._sampler = sampler
        self._feed = feed
        self._finder = finder
        self._live = live
        self._writer = StateWriter(spec)
        self._page = _page(None if spec.metrics.token is None else str(spec.metrics.token))

    def table(self, page: bool) -> dict[str, Route]:
        """By path; without ``page`` those alone that tell nothing of what the streams hold."""
        figures: dict[str, Route] = {
            "/metrics": self._metrics,
            "/healthz": lambda _: text(200, "ok"),
            "/readyz": self._ready,
            "/api/pipeline": self._pipeline,
        }
        if not page:
            return figures
        return {
            **dict.fromkeys(self._page, lambda request: self._page[request.path]),
            **figures,
            "/api/state": self._state,
            "/api/history": self._history,
            "/api/streams": self._streams,
            "/api/results": self._results,
            "/api/media": self._media,
            "/favicon.ico": lambda _: Answer(204, b""),
        }

    def _metrics(self, _: Request) -> Answer:
        snapshot = self._sampler.snapshot()
        figures = snapshot.figures.copy() if snapshot else Figures()
        if self._live is not None:
            figures.add(self._live.figures())
        if not any(name == "motet_build_info" for name, _ in figures.gauges):
            labels = (__version__, platform.python_version(), self._writer.model)
            figures.gauge("motet_build_info", 1, *labels)
        return Answer(200, exposition(figures), EXPOSITION)

    def _ready(self, _: Request) -> Answer:
        snapshot = self._sampler.snapshot()
        why = "starting" if snapshot is None else snapshot.not_ready
        return text(200, "ready") if why is None else text(503, why)

    def _pipeline(self, _: Request) -> Answer:
        """The file that the run has, what is in force of it, and where it looks for changes."""
        snapshot = self._sampler.snapshot()
        told = {
            "name": self._spec.name,
            "host": snapshot.host if snapshot else None,
            "file": resolved(self._spec),
            "values": dict(snapshot.values) if snapshot else {},
            "changes": str(ChangeStore.of(self._spec).path),
        }
        return Answer(200, orjson.dumps(told), "application/json")

    def _state(self, _: Request) -> Answer:
        evaluation = None if self._live is None else self._live.state()
        streams, count = self._feed.streams()
        state = self._writer.state(self._sampler.recent(), streams, evaluation, count)
        return Answer(200, orjson.dumps(state), "application/json")

    def _history(self, request: Request) -> Answer:
        after = request.query.get("after", "0")
        if not after.isdecimal() or len(after) > 12:
            return text(
                400, f"after = {after[:40]}: not a number; write the last one that you have"
            )
        history = self._sampler.history.since(int(after))
        return Answer(200, orjson.dumps(history), "application/json")

    def _streams(self, request: Request) -> Answer:
        found, count = self._feed.streams(request.query.get("find", "")[:256], FOUND_MAX)
        listed = {"streams": found, "count": count}
        return Answer(200, orjson.dumps(listed), "application/json")

    def _results(self, request: Request) -> Answer | Stream:
        last = request.query.get("last", "0")
        if not last.isdecimal() or len(last) > 6:
            return text(400, f"last = {last[:40]}: not a number; write ?last=10")
        after = request.headers.get("Last-Event-ID")
        if after is not None:  # headers come as Latin-1, ids are UTF-8
            after = after.encode("latin-1", "replace").decode("utf-8", "replace")
        try:
            reader = self._feed.open(
                request.query.get("stream"), min(int(last), LAST_MAX), after, OPEN_S
            )
        except TooManyReaders:
            return text(503, "too many readers of results; read the topic itself", Retry_After="10")
        except MotetError as error:
            return text(503, " ".join(str(error).split()), Retry_After="2")
        leave = partial(self._feed.leave, reader)
        return Stream(EVENTS, partial(send_events, reader), leave)

    def _media(self, request: Request) -> Answer:
        query = request.query
        stream, start, name = (query.get(key, "") for key in ("stream", "start_us", "input"))
        if name not in self._spec.inputs:
            known = ", ".join(self._spec.inputs)
            return text(400, f"input = {name[:40]}: no such input; there are: {known}")
        if not start.removeprefix("-").isdecimal() or len(start) > 20:
            return text(400, f"start_us = {start[:40]}: not a number; write the window's start_us")
        heard = query.get("as") == "sound"
        if heard and self._spec.inputs[name].media.kind != "audio":
            return text(400, f"input = {name[:40]}: it has no sound; leave out as=sound")
        try:
            picture = self._finder.find(Asked(stream, int(start), name, heard))
        except Busy:
            return text(503, "other media are being looked for", Retry_After="2")
        except MotetError as error:
            return text(502, " ".join(str(error).split()))
        if picture is None:
            return text(404, "not found among the records that were looked at")
        cached = {"Cache-Control": "private, max-age=600"}
        return Answer(200, picture.content, picture.content_type, cached)


def _page(token: str | None) -> dict[str, Answer]:
    """The files of the page by path.

    Every request needs the token, those of files that another one names (``"./NAME"``) as well:
    who reads the name has shown the token.
    """
    folder = {file.name: file.read_bytes() for file in (files(__package__) / "page").iterdir()}
    query = b"" if token is None else f"?token={quote(token, safe='')}".encode()
    answers = {}
    for name, content in folder.items():
        for other in folder:
            content = content.replace(
                b'"./%s"' % other.encode(), b'"./%s%s"' % (other.encode(), query)
            )
        content_type = f"{_TYPES[name.rpartition('.')[2]]}; charset=utf-8"
        path = "/" if name == "index.html" else f"/{name}"
        answers[path] = Answer(200, content, content_type, {"Cache-Control": "no-cache"})
    return answers
