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
READING = ("GET", "HEAD")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; media-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; "
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


class Post(NamedTuple):
    """What a page of ours may send: ``answer`` is given the body, ``bytes_max`` at most."""

    answer: Callable[[Request, bytes], Answer]
    bytes_max: int


def text(status: int, words: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, f"{words}\n".encode(), headers={"Cache-Control": "no-store", **named})


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests, one after another.

    Invariant: no body is read but one that a page of ours sends to a path of ``posts``, and of it
    no more than that path takes; a connection whose body was not read is closed.
    """

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # 0.9 would be answered without headers
    server_version = "motet"
    sys_version = ""
    timeout = READ_TIMEOUT_S

    def __init__(
        self,
        *given: Any,
        access: Access,
        routes: Mapping[str, Route],
        closed: Callable[[], bool],
        posts: Mapping[str, Post] | None = None,
    ) -> None:
        self._access = access
        self._routes = routes
        self._posts = posts or {}
        self._closed = closed
        super().__init__(*given)

    def do_GET(self) -> None:
        answer = self._answer()
        if isinstance(answer, Stream):
            self._stream(answer)
        else:
            self._send(answer)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        keep = not self.close_connection
        self.close_connection = True  # until its body is read
        self._send(self._posted(keep))

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        path = self.path.partition("?")[0]
        allowed = (*READING, "POST") if path in self._posts else READING
        if self.command not in allowed:
            self.close_connection = True  # its body is not read
            words = " and ".join([", ".join(allowed[:-1]), allowed[-1]])
            self._send(text(405, f"only {words} are answered here", Allow=", ".join(allowed)))
            return False
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the parser of requests refuses; never as HTML."""
        self.close_connection = True
        self._send(text(code, "the request cannot be read"))

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: a token may stand in their query."""

    def _answer(self) -> Answer | Stream:
        request = self._asked()
        if isinstance(request, Answer):
            return request
        route = self._routes.get(request.path)
        if route is None and request.path in self._posts:
            return text(405, "only POST is answered here", Allow="POST")
        if route is None:
            return text(404, f"nothing is here; there is: {' '.join(self._routes)}")
        try:
            return route(request)
        except Exception as error:
            return _failed(request, error)

    def _posted(self, keep: bool) -> Answer:
        request = self._asked()
        if isinstance(request, Answer):
            return request
        if not self._access.own_page(request.headers):
            return text(403, "only this server's own page may send here (Origin is another)")
        post = self._posts[request.path]
        length = ",".join(self.headers.get_all("Content-Length", []))  # two are none
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdecimal()):
            return text(411, "the length of the body is missing: send Content-Length")
        if len(length) > 12 or int(length) > post.bytes_max:
            return text(413, f"a body of {length[:20]} bytes: at most {post.bytes_max} are taken")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            return text(400, "the body ended before its Content-Length")
        self.close_connection = not keep
        try:
            return post.answer(request, body)
        except Exception as error:
            return _failed(request, error)

    def _asked(self) -> Request | Answer:
        """The request, where whoever asks may; otherwise why not."""
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
        return Request(url.path, query, self.headers)  # type: ignore[arg-type]

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


def _failed(request: Request, error: Exception) -> Answer:
    words = f"{type(error).__name__}: {' '.join(str(error).split())}"
    _log.error("motet: HTTP %s: %s", request.path, words)
    return text(500, words)
