"""Serves one pipeline over HTTP (contract section 6) from threads beside the run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from urllib.parse import quote

from pipeline.monitor.access import access_for
from pipeline.monitor.find import Finder
from pipeline.monitor.handler import Handler
from pipeline.monitor.live import Live
from pipeline.monitor.log_level import level_posts, level_routes
from pipeline.monitor.media import MediaFinder
from pipeline.monitor.results import ResultFeed
from pipeline.monitor.routes import Routes
from pipeline.monitor.sampler import Sampler
from pipeline.monitor.server import PortTaken, Server
from pipeline.monitor.speak import Speak, no_speaking
from pipeline.monitor.teach import PATH as TEACH_PATH
from pipeline.monitor.teach import Teach, no_teaching
from pipeline.slot.ports import Connector
from pipeline.spec import PipelineSpec
from pipeline.tasks.view import View

PORT_RETRY_S = 1.0
_EVERY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class Monitor:
    """Answers from when it is built until ``close``; before ``show`` nothing is ready.

    It reads the view, and the topics by ports of its own: it holds up nothing of the run, and
    its failure ends nothing of it.

    ``say`` is told where the port is taken, which is then tried again every second; ``bound`` is
    told the page's address once, when the port is ours. ``live``: how good the answers are, where
    that is looked at; it is closed with the monitor, as is ``teaching``: what the page may teach.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        connector: Connector,
        host: str,
        port: int,
        *,
        page: bool = True,
        say: Callable[[str], None] | None = None,
        bound: Callable[[str], None] | None = None,
        live: Live | None = None,
        teaching: Teach | None = None,
    ) -> None:
        access = access_for(spec.metrics, host)
        self._closed = threading.Event()
        self._sampler = Sampler()
        self._feed = ResultFeed(connector, spec.outputs.results)
        self._finder = MediaFinder(spec, connector, self._feed.lane_of, self._position)
        self._live = live
        routes = Routes(spec, self._sampler, self._feed, self._finder, live).table(page)
        self._speak = self._speaking(spec, connector) if page and spec.metrics.ingest else None
        speaking = self._speak.routes() if self._speak else {"/api/speak": lambda _: no_speaking()}
        more = {**Finder(self._feed).routes(), **level_routes()}
        self._teach = teaching
        learning = teaching.routes() if teaching else {TEACH_PATH: no_teaching}
        handler = partial(
            Handler,
            access=access,
            routes={**routes, **speaking, **learning, **more} if page else routes,
            closed=self._closed.is_set,
            posts={
                **(self._speak.posts() if self._speak else {}),
                **(teaching.posts() if page and teaching else {}),
                **(level_posts() if page else {}),
            },
        )
        self._bind = partial(Server, host, port, handler)
        self._token = spec.metrics.token
        self._host, self._port = _EVERY.get(host, host), port
        self._server: Server | None = None
        self._told_bound = bound
        try:
            self._bound(self._bind())
        except PortTaken as error:
            if say is None:
                raise
            say(f"motet: warning: {error}; until it is free nothing is served")
        self._thread = threading.Thread(target=self._serve, name="monitor-http", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Of the live page, with the port that was taken; without the token."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/"

    @property
    def page_url(self) -> str:
        """For a browser to be opened with: with the token where there is one."""
        return self.url if self._token is None else f"{self.url}?token={quote(self._token, '')}"

    def show(self, view: View) -> None:
        """What is answered from now on; ``RunControl.show`` may be this method."""
        self._sampler.show(view)

    def close(self) -> None:
        """Tells the readers that the run has ended, and returns once nothing is served."""
        self._closed.set()
        self._thread.join(10)
        if self._speak is not None:
            self._speak.close()
        if self._teach is not None:
            self._teach.close()
        self._feed.close()
        self._sampler.close()
        self._finder.close()
        if self._live is not None:
            self._live.close()
        self._feed.await_left()
        if self._server is not None:
            self._server.end_connections()
            self._server.server_close()

    def _speaking(self, spec: PipelineSpec, connector: Connector) -> Speak:
        return Speak(spec, connector, lambda stream: self._feed.lane_of(stream) is not None)

    def _serve(self) -> None:
        """Takes connections until ``close``; first of all the port, where it was not to be had."""
        while self._server is None:
            if self._closed.wait(PORT_RETRY_S):
                return
            try:
                self._bound(self._bind())
            except PortTaken:
                continue
        while not self._closed.is_set():
            self._server.handle_request()

    def _bound(self, server: Server) -> None:
        server.timeout = 0.2  # of each look at whether to end
        self._server, self._port = server, server.port
        if self._told_bound is not None:
            self._told_bound(self.url)

    def _position(self, name: str, lane: int) -> int | None:
        """The first offset of an input's partition that is not applied yet."""
        snapshot = self._sampler.snapshot()
        for found in snapshot.lanes if snapshot else ():
            if found.lane == lane:
                return found.positions.get(name)
        return None


def serve(
    spec: PipelineSpec,
    connector: Connector,
    address: tuple[str, int] | None = None,
    *,
    page: bool = True,
    say: Callable[[str], None] | None = None,
    bound: Callable[[str], None] | None = None,
    live: Live | None = None,
    teaching: Teach | None = None,
) -> Monitor:
    """Binds and answers; the caller gives it the run by ``show`` and ends it by ``close``.

    ``address``: host and port instead of those in the file. Without ``page`` there are metrics
    and health alone, and no media or results. Raises InvalidInput where the port is taken, the
    host is none of this machine's, or others would read without a token. With ``say`` a port
    that is taken is told and waited for instead: a run that takes over from one on the same
    machine has the port as soon as the other has ended. ``bound``, ``live`` and ``teaching``:
    as in ``Monitor``.
    """
    host, port = address or (spec.metrics.host, spec.metrics.port)
    return Monitor(
        spec,
        connector,
        host,
        port,
        page=page,
        say=say,
        bound=bound,
        live=live,
        teaching=teaching,
    )
