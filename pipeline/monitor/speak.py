"""Speak into it: a visitor's sound, pictures and lines become a stream of the pipeline.

Off unless the file says ``metrics.ingest: true``. ``GET /api/speak`` says what can be spoken into,
``POST /api/speak`` begins a session, ``/api/speak/record`` takes a piece of media for one input,
``/api/speak/end`` ends it. Whoever asks has been let in by the handler: its host, its token where
there is one, and that a page of ours sends it.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from pipeline import clock
from pipeline.connectors.files import FileRecord
from pipeline.connectors.limits import check_size
from pipeline.connectors.publish import out_record, usable
from pipeline.errors import InvalidInput, MotetError, Refused
from pipeline.media.reading import Reader, rules_of
from pipeline.monitor.handler import Answer, Post, Request, Route, text
from pipeline.monitor.speak_inputs import spoken_inputs
from pipeline.monitor.speak_sender import Sender
from pipeline.monitor.speak_session import (
    IDLE_US_MAX,
    REQUEST_BYTES_MAX,
    SESSION_US_MAX,
    Now,
    Refusal,
    Sent,
    Session,
)
from pipeline.record import UnsoundRecord
from pipeline.slot.ports import Connector, LogRecord, OutRecord, TopicInfo
from pipeline.spec import PipelineSpec

SESSIONS_MAX = 4
SESSION_HEADER = "X-Motet-Session"
STREAM_PREFIX = "page-"
SOURCE = "motet/"  # ce_source is motet/page
_NAME_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_NAME_LENGTH = 8
_START_BYTES_MAX = 1_000
_NUMBER_DIGITS_MAX = 18


def read_clocks() -> Now:
    return Now(clock.wall_us(), clock.monotonic_us())


class Speak:
    """The sessions of a run; every method may be called by any thread.

    Invariant: a stream's name is made here, by chance, and belongs to one session: nobody can
    speak as a stream that is there. What a pipeline would dead-letter is refused before it is
    sent. ``is_known`` says of a stream whether it is among those of the newest results.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        connector: Connector,
        is_known: Callable[[str], bool],
        now: Callable[[], Now] = read_clocks,
    ) -> None:
        self._inputs = spoken_inputs(spec)
        self._idle_us = spec.windows.idle_us
        self._connector = connector
        self._is_known = is_known
        self._now = now
        self._sender = Sender(connector)
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._reader = Reader(rules_of(spec))
        self._topics: Mapping[str, TopicInfo] = {}

    def routes(self) -> dict[str, Route]:
        return {"/api/speak": self._about}

    def posts(self) -> dict[str, Post]:
        return {
            "/api/speak": Post(_answering(self._begin), _START_BYTES_MAX),
            "/api/speak/record": Post(_answering(self._record), REQUEST_BYTES_MAX),
            "/api/speak/end": Post(_answering(self._end), 0),
        }

    def close(self) -> None:
        """Nothing is taken any more; what was taken is sent, and the producer closed."""
        with self._lock:
            self._sessions.clear()
        self._sender.close()

    # -- what is asked ------------------------------------------------------------------------

    def _about(self, _: Request) -> Answer:
        about = {
            "ingest": True,
            "inputs": [spoken.as_json() for spoken in self._inputs.values()],
            "seconds_max": SESSION_US_MAX // 1_000_000,
            "idle_seconds": self._idle_us / 1e6,
        }
        return _json(200, about)

    def _begin(self, request: Request, body: bytes) -> Answer:
        """Its body is JSON: a form of another site cannot send that."""
        if request.headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
            raise Refusal(415, "send application/json: {now_us: the browser's clock}")
        browser_us = _begin_us(body)
        self._sender.check()
        topics = self._look_at_topics()
        with self._lock:
            now = self._now()
            self._drop_those_over(now)
            if len(self._sessions) >= SESSIONS_MAX:
                words = f"{SESSIONS_MAX} visitors speak already; try again in a while"
                raise Refusal(503, words, retry_s=10)
            self._topics = topics
            session = Session(self._new_name(), self._inputs, now, browser_us)
            token = secrets.token_urlsafe(24)
            self._sessions[token] = session
        begun = {"stream": session.stream, "session": token, "offset_us": session.offset_us}
        return _json(201, begun)

    def _record(self, request: Request, body: bytes) -> Answer:
        query = request.query
        at_us, rate = _number(query, "at_us"), _number(query, "rate", "0")
        sent = Sent(query.get("input", ""), at_us, rate, body)
        with self._lock:
            now = self._now()
            session = self._session(request, now)
            self._sender.check()  # before anything is taken: it can be sent again
            self._send(session.take(sent, now), now)
        return text(200, "taken")

    def _end(self, request: Request, _: bytes) -> Answer:
        with self._lock:
            now = self._now()
            session = self._session(request, now)
            del self._sessions[request.headers[SESSION_HEADER]]
            self._send(session.end(), now)
        return text(200, "ended")

    # -- under the lock -----------------------------------------------------------------------

    def _session(self, request: Request, now: Now) -> Session:
        self._drop_those_over(now)
        session = self._sessions.get(request.headers.get(SESSION_HEADER, ""))
        if session is None:
            minutes, idle_s = SESSION_US_MAX // 60_000_000, IDLE_US_MAX // 1_000_000
            words = f"it has ended: after {minutes} minutes, or {idle_s} s in which nothing came"
            raise Refusal(410, f"{words}; begin anew")
        return session

    def _drop_those_over(self, now: Now) -> None:
        for token, session in list(self._sessions.items()):
            if session.is_over(now):
                del self._sessions[token]

    def _new_name(self) -> str:
        taken = {session.stream for session in self._sessions.values()}
        while True:
            letters = (secrets.choice(_NAME_LETTERS) for _ in range(_NAME_LENGTH))
            name = STREAM_PREFIX + "".join(letters)
            if name not in taken and not self._is_known(name):
                return name

    def _send(self, records: Sequence[tuple[str, FileRecord]], now: Now) -> None:
        """All of them, or none where one would be refused by the log or become a dead letter."""
        outs = [self._checked(name, record, now) for name, record in records]
        self._sender.offer(outs)

    def _checked(self, name: str, record: FileRecord, now: Now) -> OutRecord:
        info = self._topics[record.target.topic]
        out = out_record(record, info.partitions, SOURCE)
        try:
            check_size(out, info.max_message_bytes)
        except Refused as error:
            raise Refusal(413, str(error)) from error
        log = LogRecord(*out[:2], 0, now.wall_us, out.key, out.value, out.headers)
        found = self._reader.read(name, log)
        if isinstance(found, UnsoundRecord):
            raise Refusal(422, f"input {name} would not take it ({found.reason}): {found.error}")
        return out

    # -- topics -------------------------------------------------------------------------------

    def _look_at_topics(self) -> Mapping[str, TopicInfo]:
        """Of all inputs that can be spoken into; their partitions may have become more."""
        names = [s.target.topic for s in self._inputs.values() if s.why_not is None]
        try:
            control = self._connector.control()
            try:
                return usable(control.topics(names), "motet topics create makes it")
            finally:
                control.close()
        except (InvalidInput, MotetError) as error:
            raise Refusal(503, " ".join(str(error).split()), retry_s=5) from error


def no_speaking() -> Answer:
    """What ``/api/speak`` says where the file does not allow it."""
    return _json(200, {"ingest": False, "inputs": []})


def _answering(step: Callable[[Request, bytes], Answer]) -> Callable[[Request, bytes], Answer]:
    def answer(request: Request, body: bytes) -> Answer:
        try:
            return step(request, body)
        except Refusal as refused:
            again = {"Retry_After": str(refused.retry_s)} if refused.retry_s else {}
            return text(refused.status, str(refused), **again)

    return answer


def _begin_us(body: bytes) -> int:
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        given = None
    now_us = given.get("now_us") if isinstance(given, dict) else None
    if not isinstance(now_us, int) or isinstance(now_us, bool) or not 0 <= now_us < 10**18:
        raise Refusal(400, "the body is not {now_us: the browser's clock in microseconds}")
    return now_us


def _number(query: Mapping[str, str], name: str, default: str = "") -> int:
    given = query.get(name, default)
    if not (given.isascii() and given.isdecimal()) or len(given) > _NUMBER_DIGITS_MAX:
        raise Refusal(400, f"{name} = {given[:40]}: not a whole number from 0 on")
    return int(given)


def _json(status: int, value: dict[str, Any]) -> Answer:
    return Answer(status, orjson.dumps(value), "application/json")
