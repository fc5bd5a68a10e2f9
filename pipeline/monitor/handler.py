"""One request: who asks, what for, and an answer with the headers that keep a browser safe."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from pipeline.monitor.access import Access
from pipeline.monitor.server import READ_TIMEOUT_S

_log = logging.getLogger(__name__)

QUERY_FIELDS_MAX = 20
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Answer(NamedTuple):
    """``headers`` beside those that every answer has."""

    status: int
    content: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = {"Cache-Control": "no-store"}


class Request(NamedTuple):
    """A request that may be answered; of equal query fields the last counts."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that goes on: ``send`` writes with what it is given, until it returns.

    Writing raises OSError once the client is gone. ``done`` is called in any case.
    """

    content_type: str
    send: Callable[[Callable[[bytes], object]], None]
    done: Callable[[], None]


Route = Callable[[Request], Answer | Stream]


def text(status: int, words: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, f"{words}\n".encode(), headers={"Cache-Control": "no-store", **named})


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests, one after another."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # 0.9 would be answered without headers
    server_version = "motet"
    sys_version = ""
    timeout = READ_TIMEOUT_S

    def __init__(
        self, *given: Any, access: Access, routes: Mapping[str, Route], closed: Callable[[], bool]
    ) -> None:
        self._access = access
        self._routes = routes
        self._closed = closed
        super().__init__(*given)

    def do_GET(self) -> None:
        answer = self._answer()
        if isinstance(answer, Stream):
            self._stream(answer)
        else:
            self._send(answer)

    do_HEAD = do_GET

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        if self.command not in ("GET", "HEAD"):
            self.close_connection = True  # its body is not read
            self._send(text(405, "only GET and HEAD are answered here", Allow="GET, HEAD"))
            return False
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the parser of requests refuses; never as HTML."""
        self.close_connection = True
        self._send(text(code, "the request cannot be read"))

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: a token may stand in their query."""

    def _answer(self) -> Answer | Stream:
        if len(self.headers.get_all("Host", [])) > 1 or not self._access.knows_host(
            self.headers.get("Host")
        ):
            return text(403, "the Host header names another host than this one")
        try:
            url = urlsplit(self.path)
            fields = parse_qs(url.query, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
        except ValueError:
            return text(400, "the request's query cannot be read")
        query = {name: values[-1] for name, values in fields.items()}
        if not self._access.admits(self.headers.get("Authorization"), query.get("token")):
            words = "a token is needed: Authorization: Bearer TOKEN, or ?token=TOKEN"
            return text(401, words, WWW_Authenticate="Bearer")
        route = self._routes.get(url.path)
        if route is None:
            return text(404, f"nothing is here; there is: {' '.join(self._routes)}")
        try:
            return route(Request(url.path, query, self.headers))  # type: ignore[arg-type]
        except Exception as error:
            words = f"{type(error).__name__}: {' '.join(str(error).split())}"
            _log.error("motet: HTTP %s: %s", url.path, words)
            return text(500, words)

    def _send(self, answer: Answer) -> None:
        if self._closed():
            self.close_connection = True
        self.send_response(answer.status)
        own = {
            "Content-Type": answer.content_type,
            **({"Content-Length": str(len(answer.content))} if answer.status != 204 else {}),
            **({"Connection": "close"} if self.close_connection else {}),
        }
        self._send_headers({**own, **answer.headers})
        if self.command != "HEAD":
            self.wfile.write(answer.content)

    def _stream(self, stream: Stream) -> None:
        self.close_connection = True  # its end is the end of the answer
        try:
            self.send_response(200)
            own = {"Content-Type": stream.content_type, "Connection": "close"}
            self._send_headers({**own, "Cache-Control": "no-store", "X-Accel-Buffering": "no"})
            if self.command != "HEAD":
                stream.send(self.wfile.write)
        finally:
            stream.done()

    def _send_headers(self, headers: Mapping[str, str]) -> None:
        for name, value in {**headers, **_HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
