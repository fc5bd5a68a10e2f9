"""Speak into it over HTTP: who may send, what goes into the topics, and how much of it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any

import pytest
from kafka_user import await_that
from pipelines import LOBBY, RATE, broker_for, committed, connector_for, header, jpeg, load, tone
from shown import Shown, ask, monitor_of, port_of
from speaking import Speaker

from pipeline import clock
from pipeline.connectors.partitioner import partition_for
from pipeline.demo.assets import pipeline_spec
from pipeline.errors import InvalidInput
from pipeline.monitor import serve
from pipeline.monitor.access import access_for
from pipeline.monitor.handler import Request
from pipeline.monitor.speak import SESSIONS_MAX, Speak
from pipeline.monitor.speak_inputs import spoken_inputs
from pipeline.monitor.speak_session import IDLE_US_MAX, SESSION_US_MAX, Now

JSON = {"Content-Type": "application/json"}
SESSION = "X-Motet-Session"


@pytest.fixture
def lobby():
    spec = load(LOBBY, {"metrics.ingest": True})
    broker = broker_for(spec, 4)
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        yield Speaker(monitor), broker


def test_the_page_is_told_what_can_be_spoken_into(lobby):
    visitor, _ = lobby
    about = json.loads(ask(visitor.monitor, "/api/speak").content)
    assert about["ingest"] is True
    assert [each["name"] for each in about["inputs"]] == ["mic", "cam", "chat"]
    assert about["inputs"][0] == {
        "name": "mic", "kind": "audio", "type": f"audio/L16;rate={RATE};channels=1",
        "rate": RATE, "gating": True, "why_not": None,
    }  # fmt: skip
    assert (about["seconds_max"], about["idle_seconds"]) == (600, 5.0)


def test_what_is_sent_stands_in_the_topics_as_a_stream_of_its_own(lobby):
    visitor, broker = lobby
    before_us = clock.wall_us()
    assert visitor.begin(now_us=5_000_000).status == 201
    stream, offset_us = visitor.session["stream"], visitor.session["offset_us"]
    assert before_us <= offset_us + 5_000_000 <= clock.wall_us()
    sound = tone(440, 0.25)
    little = b"".join(sound[n + 1 : n + 2] + sound[n : n + 1] for n in range(0, len(sound), 2))
    assert visitor.send("mic", 5_000_000, little, RATE).status == 200
    assert visitor.send("mic", 5_000_000, little, RATE).status == 200  # its answer was lost
    assert visitor.send("cam", 5_000_000, jpeg((255, 0, 0))).status == 200
    assert visitor.send("chat", 5_100_000, b"hello").status == 200
    assert visitor.end().status == 200
    assert visitor.send("chat", 5_200_000, b"more").status == 410
    visitor.monitor.close()  # what was taken is there by then
    heard = committed(broker, "in.mic")
    assert b"".join(record.value or b"" for record in heard) == sound
    [picture], [line] = committed(broker, "in.cam"), committed(broker, "in.chat")
    assert line.value == b"hello"
    lane = partition_for(stream.encode(), 4)
    for record in (*heard, picture, line):
        assert (record.key, record.partition) == (stream.encode(), lane)
        assert header(record, "ce_source") == "motet/page"
        assert (header(record, "ce_specversion"), header(record, "ce_type")) == (
            "1.0", "motet.media.v1",
        )  # fmt: skip
    assert header(heard[0], "content-type") == f"audio/L16;rate={RATE};channels=1"
    assert header(heard[0], "ce_id") == f"{stream}/{offset_us + 5_000_000}"
    assert header(picture, "ce_mediadur") == "500000"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"without": "Origin"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),  # another server of this machine
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Content_Type": "text/plain"}, 415),  # what a form of another site could send
        ({"Content_Type": None}, 415),
    ],
)
def test_a_page_of_somebody_else_may_not_begin(lobby, changes, status):
    visitor, broker = lobby
    body = json.dumps({"now_us": 0}).encode()
    given = {"Content_Type": "application/json", **changes}
    assert visitor.post("/api/speak", body, **given).status == status
    assert visitor.begin().status == 201
    for path in ("record?input=chat&at_us=0", "end"):
        if status == 403:
            given = {**changes, "X_Motet_Session": visitor.session["session"]}
            assert visitor.post(f"/api/speak/{path}", b"" if path == "end" else b"x",
                                **given).status == 403  # fmt: skip
    assert committed(broker, "in.chat") == []


def test_without_the_key_of_a_session_nothing_is_taken(lobby):
    visitor, broker = lobby
    assert visitor.begin().status == 201
    path = "/api/speak/record?input=chat&at_us=0"
    for key in (None, "", "x" * 32, visitor.session["stream"]):
        assert visitor.post(path, b"hello", X_Motet_Session=key).status == 410
        assert visitor.post("/api/speak/end", X_Motet_Session=key).status == 410
    visitor.monitor.close()
    assert committed(broker, "in.chat") == []


def test_a_token_is_demanded_here_too():
    spec = load(LOBBY, {"metrics.ingest": True, "metrics.token": "s3cret"})
    with monitor_of(spec, connector_for(broker_for(spec)), Shown()) as monitor:
        assert Speaker(monitor).begin().status == 401
        assert Speaker(monitor, "other").begin().status == 401
        visitor = Speaker(monitor, "s3cret")
        assert visitor.begin().status == 201
        assert visitor.send("chat", 0, b"hello").status == 200
        visitor.token = ""
        assert visitor.send("chat", 1, b"hello").status == 401
        assert visitor.end().status == 401


@pytest.mark.parametrize("changes", [{}, {"metrics.ingest": False}])
def test_it_is_off_unless_the_file_says_so(changes):
    spec = load(LOBBY, changes)
    broker = broker_for(spec)
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        visitor = Speaker(monitor)
        assert visitor.begin().status == 405
        assert visitor.post("/api/speak/record?input=chat&at_us=0", b"x").status == 405
        about = json.loads(ask(monitor, "/api/speak").content)
        assert about == {"ingest": False, "inputs": []}


@pytest.mark.parametrize("models", [False, True])
def test_in_the_demo_it_is_on_and_on_loopback(models):
    spec = pipeline_spec("demo", "127.0.0.1:9092", models)
    assert (spec.metrics.ingest, spec.metrics.host) == (True, "127.0.0.1")
    assert {name: found.why_not for name, found in spoken_inputs(spec).items()} == {
        "mic": None, "camera": None, "chat": None,
    }  # fmt: skip


def test_without_the_page_nobody_speaks():
    spec = load(LOBBY, {"metrics.ingest": True})
    monitor = serve(spec, connector_for(broker_for(spec)), ("127.0.0.1", 0), page=False)
    try:
        assert Speaker(monitor).begin().status == 405
    finally:
        monitor.close()


def test_who_may_write_from_elsewhere_needs_a_token():
    public = load(LOBBY, {"metrics.public": True, "metrics.ingest": True})
    with pytest.raises(InvalidInput, match=r"metrics\.ingest = true: .*0\.0\.0\.0.*metrics\.token"):
        access_for(public.metrics, "0.0.0.0")
    with pytest.raises(InvalidInput, match=r"metrics\.ingest = true: .*set metrics\.token"):
        load(LOBBY, {"metrics.public": True, "metrics.ingest": True, "metrics.host": "0.0.0.0"})


@pytest.mark.parametrize(
    ("input", "at_us", "body", "status", "word"),
    [
        ("smell", 0, b"x", 400, "mic, cam, chat"),
        ("chat", "now", b"x", 400, "at_us = now"),
        ("chat", 9 * 10**8, b"x", 400, "future"),
        ("cam", 0, b"no picture", 422, "undecodable"),
    ],
)
def test_what_cannot_be_taken_is_refused_before_it_is_sent(lobby, input, at_us, body, status, word):
    visitor, broker = lobby
    assert visitor.begin().status == 201
    answer = visitor.send(input, at_us, body)
    assert answer.status == status
    assert word in answer.text
    visitor.monitor.close()
    assert [committed(broker, f"in.{name}") for name in ("mic", "cam", "chat")] == [[], [], []]


def test_a_record_over_the_limits_of_file_or_topic_is_refused():
    small = load(LOBBY, {"metrics.ingest": True, "limits.record_bytes": "1KiB"})
    topic = load(LOBBY, {"metrics.ingest": True})
    for spec, settings, status, word in (
        (small, {}, 422, "limits.record_bytes"),
        (topic, {"max_message_bytes": 1_000}, 413, "max.message.bytes"),
    ):
        broker = broker_for(spec, **settings)
        with monitor_of(spec, connector_for(broker), Shown()) as monitor:
            visitor = Speaker(monitor)
            assert visitor.begin().status == 201
            answer = visitor.send("chat", 0, b"a" * 2_000)
            assert (answer.status, word in answer.text) == (status, True)
            assert visitor.send("chat", 1, b"a").status == 200


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"now_us": -1}', b'{"now_us": "1"}', b"{}"])
def test_a_beginning_without_the_time_is_refused(lobby, body):
    visitor, _ = lobby
    answer = visitor.post("/api/speak", body, **{"Content_Type": "application/json"})
    assert (answer.status, "now_us" in answer.text) == (400, True)


def raw(visitor: Speaker, lines: Mapping[str, str], body: bytes) -> bytes:
    """What is answered to a request whose headers http.client would not write."""
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    request = f"POST /api/speak HTTP/1.1\r\nHost: {visitor.host}\r\n{head}\r\n".encode() + body
    with socket.create_connection(("127.0.0.1", port_of(visitor.monitor)), 20) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_body_without_its_length_is_not_read(lobby):
    visitor, _ = lobby
    own = {"Origin": f"http://{visitor.host}", **JSON}
    for lines, status in (
        ({"Transfer-Encoding": "chunked"}, b"411"),
        ({}, b"411"),
        ({"Content-Length": "-1"}, b"411"),
        ({"Content-Length": "9" * 30}, b"413"),
        ({"Content-Length": "20"}, b"400"),  # and then fewer come
    ):
        answer = raw(visitor, {**own, **lines}, b'{"now_us": 1}')
        assert answer.split()[1] == status, lines
        assert b"Connection: close" in answer
        assert answer.count(b"HTTP/1.1") == 1


def test_a_connection_is_used_for_one_piece_after_another(lobby):
    visitor, _ = lobby
    assert visitor.begin().status == 201
    headers = {"Origin": f"http://{visitor.host}", SESSION: visitor.session["session"]}
    connection = http.client.HTTPConnection("127.0.0.1", port_of(visitor.monitor), timeout=20)
    connection.connect()
    port = connection.sock.getsockname()[1]
    for number in range(3):
        path = f"/api/speak/record?input=chat&at_us={number}"
        connection.request("POST", path, b"hello", headers)
        assert connection.getresponse().read() == b"taken\n"
    assert connection.sock.getsockname()[1] == port
    connection.close()


# -- sessions -------------------------------------------------------------------------------------


class Hour:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = Now(clock.wall_us(), 0)

    def __call__(self) -> Now:
        return self.now

    def forward(self, by_us: int) -> None:
        self.now = Now(self.now.wall_us + by_us, self.now.monotonic_us + by_us)


@pytest.fixture
def spoken():
    """The sessions themselves, with a clock, and what is known of streams."""
    spec = load(LOBBY, {"metrics.ingest": True})
    broker, hour, known = broker_for(spec), Hour(), set()
    speak = Speak(spec, connector_for(broker), known.__contains__, hour)
    yield speak, hour, broker
    speak.close()


def begin(speak: Speak) -> dict[str, Any]:
    answer = speak.posts()["/api/speak"].answer(Request("", {}, JSON), b'{"now_us": 0}')
    return {"status": answer.status, **(json.loads(answer.content) if answer.status == 201 else {})}


def say(speak: Speak, session: Mapping[str, Any], at_us: int) -> int:
    request = Request("", {"input": "chat", "at_us": str(at_us)}, {SESSION: session["session"]})
    return speak.posts()["/api/speak/record"].answer(request, b"hello").status


def test_so_many_may_speak_at_once_each_as_another_stream(spoken):
    speak, hour, _ = spoken
    sessions = [begin(speak) for _ in range(SESSIONS_MAX)]
    assert len({session["stream"] for session in sessions}) == SESSIONS_MAX
    assert all(session["stream"].startswith("page-") for session in sessions)
    assert begin(speak)["status"] == 503
    hour.forward(IDLE_US_MAX // 2)
    assert say(speak, sessions[0], IDLE_US_MAX // 2) == 200
    hour.forward(IDLE_US_MAX // 2)
    assert say(speak, sessions[1], IDLE_US_MAX) == 410  # nothing came of it for too long
    assert say(speak, sessions[0], IDLE_US_MAX) == 200
    assert begin(speak)["status"] == 201


def test_nobody_speaks_for_ever(spoken):
    speak, hour, _ = spoken
    session, step_us = begin(speak), IDLE_US_MAX // 2
    for at_us in range(0, SESSION_US_MAX, step_us):
        assert say(speak, session, at_us) == 200
        hour.forward(step_us)
    assert say(speak, session, SESSION_US_MAX) == 410


def test_a_stream_that_is_there_is_not_taken():
    spec = load(LOBBY)
    asked: list[str] = []

    def is_known(stream: str) -> bool:
        asked.append(stream)
        return len(asked) < 3

    speak = Speak(spec, connector_for(broker_for(spec)), is_known)
    assert begin(speak)["stream"] == asked[2]
    assert len(set(asked)) == 3
    speak.close()


def test_a_topic_that_is_missing_is_named(spoken):
    speak, _, broker = spoken
    broker.delete_topic("in.cam")
    answer = speak.posts()["/api/speak"].answer(Request("", {}, JSON), b'{"now_us": 0}')
    assert answer.status == 503
    assert b"in.cam" in answer.content


def test_a_failure_of_the_broker_is_told_and_then_it_goes_on(spoken, monkeypatch, caplog):
    monkeypatch.setattr("pipeline.monitor.speak_sender.FAILED_US", 10**12)
    speak, _, broker = spoken
    session = begin(speak)
    broker.delete_topic("in.chat")
    assert say(speak, session, 0) == 200  # it is on its way
    status = await_that("told", lambda: found if (found := say(speak, session, 1)) != 200 else 0)
    assert status == 503
    assert "in.chat" in caplog.text
    broker.create_topic("in.chat", 2)
    monkeypatch.setattr("pipeline.monitor.speak_sender.FAILED_US", 0)
    assert say(speak, session, 2) == 200
    speak.close()
    assert [record.value for record in committed(broker, "in.chat")] == [b"hello"]


def test_once_the_run_has_ended_nothing_is_taken(spoken):
    speak, _, _ = spoken
    session = begin(speak)
    speak.close()
    assert say(speak, session, 0) == 410
    assert begin(speak)["status"] == 410
