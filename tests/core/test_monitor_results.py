"""Committed results as server-sent events, on the in-memory log."""

from __future__ import annotations

import json
import socket
import threading

import pytest
from pipelines import CHAT, broker_for, connector_for, load
from shown import Events, Shown, ask, monitor_of, port_of

from pipeline.connectors import topic_reader
from pipeline.monitor import results as results_module
from pipeline.monitor.events import event_id, result_event, send_events
from pipeline.monitor.reader import QUEUE_RECORDS, Result
from pipeline.monitor.results import ResultFeed
from pipeline.slot.ports import OutRecord, TopicPartition


def result(stream: str, second: int, lane: int = 0, value: bytes | None = None) -> OutRecord:
    """As the pipeline writes it, as far as a reader cares."""
    start_us = second * 1_000_000
    content = json.dumps({"stream": stream, "window": {"start_us": start_us}}).encode()
    headers = [("ce_id", f"{stream}/{start_us}".encode())]
    return OutRecord("out.results", lane, stream.encode(), value or content, headers)


@pytest.fixture
def spec():
    return load(CHAT)


@pytest.fixture
def broker(spec):
    return broker_for(spec)


@pytest.fixture
def monitor(spec, broker):
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        yield monitor


@pytest.fixture
def events(monitor):
    opened = []

    def connect(path: str, **headers: str) -> Events:
        opened.append(Events(monitor, path, **headers))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


def test_results_come_from_now_on(broker, events):
    broker.append(result("a", 0))
    reader = events("/api/results")
    assert reader.answer.status == 200
    assert reader.answer.headers["Content-Type"].startswith("text/event-stream")
    broker.append(result("a", 1))
    broker.append(result("b", 1, lane=1))
    found = {event["id"]: json.loads(event["data"]) for event in (reader.next(), reader.next())}
    assert set(found) == {"a/1000000", "b/1000000"}
    assert found["b/1000000"]["stream"] == "b"


def test_one_stream_and_its_last_ones(broker, events, monitor):
    for second in range(10):
        broker.append(result("a", second))
        broker.append(result("b", second, lane=1))
    reader = events("/api/results?stream=a&last=2")
    broker.append(result("b", 10, lane=1))
    broker.append(result("a", 10))
    assert [reader.next()["id"] for _ in range(3)] == ["a/8000000", "a/9000000", "a/10000000"]
    streams = json.loads(ask(monitor, "/api/state").content)["streams"]
    assert set(streams) == {"a", "b"}


def test_a_reader_that_comes_again_misses_nothing(broker, events):
    first = events("/api/results")
    for second in range(5):
        broker.append(result("a", second))
    seen = [first.next()["id"] for _ in range(2)]
    again = events("/api/results?last=1", Last_Event_ID=seen[-1])
    assert [again.next()["id"] for _ in range(3)] == ["a/2000000", "a/3000000", "a/4000000"]


def test_an_odd_id_is_found_again(broker):
    feed = ResultFeed(connector_for(broker), "out.results")
    try:
        for second in range(3):
            broker.append(result("a\nb", second))
        found = feed.open(None, 3, None, 5).take(5)[0]
        again = feed.open(None, 0, event_id(found[0].id), 5)
        assert again.take(5)[0] == found[1:]
    finally:
        feed.close()


def test_one_result_may_be_larger_than_the_queue(broker, monkeypatch):
    monkeypatch.setattr("pipeline.monitor.reader.QUEUE_BYTES", 10)
    feed = ResultFeed(connector_for(broker), "out.results")
    try:
        reader = feed.open(None, 0, None, 5)
        broker.append(result("a", 0))
        assert len(reader.take(5)[0]) == 1
        assert not reader.dropped
    finally:
        feed.close()


def test_uncommitted_results_are_not_shown(broker, events):
    reader = events("/api/results")
    broker.open("pipeline.0", 60_000_000, None)
    broker.produce("pipeline.0", 0, [result("a", 1)])
    broker.end("pipeline.0", 0, commit=False)
    broker.append(result("a", 2))
    assert reader.next()["id"] == "a/2000000"


def test_many_readers_share_one_consumer(broker, events, monkeypatch):
    made = []
    source = type(connector_for(broker)).source
    monkeypatch.setattr(
        type(connector_for(broker)), "source", lambda self: made.append(1) or source(self)
    )
    readers = [events("/api/results") for _ in range(8)]
    broker.append(result("a", 1))
    assert {reader.next()["id"] for reader in readers} == {"a/1000000"}
    assert len(made) == 1


def test_too_many_readers_are_told(monkeypatch, monitor, events):
    monkeypatch.setattr(results_module, "READERS_MAX", 2)
    events("/api/results")
    events("/api/results")
    answer = ask(monitor, "/api/results")
    assert (answer.status, answer.headers["retry-after"]) == (503, "10")
    assert "too many readers" in answer.text


def test_a_reader_that_left_makes_room(broker, events, monkeypatch):
    monkeypatch.setattr(results_module, "READERS_MAX", 1)
    monkeypatch.setattr("pipeline.monitor.events.HEARTBEAT_S", 0.02)
    first = events("/api/results")
    first.close()
    for _ in range(500):
        if (second := events("/api/results")).answer.status == 200:
            break
    assert second.answer.status == 200


def test_a_topic_that_is_missing_is_told(broker, monitor, monkeypatch):
    monkeypatch.setattr("pipeline.monitor.routes.OPEN_S", 0.5)
    broker.delete_topic("out.results")
    answer = ask(monitor, "/api/results")
    assert answer.status == 503
    assert "out.results: it is not there" in answer.text


def test_readers_are_told_that_the_run_has_ended_however_slow_the_machine_is(
    spec, broker, monkeypatch
):
    def slowly(reader, write):
        def wait_and_write(data):
            if data.startswith(b"event: closed"):
                threading.Event().wait(0.3)
            write(data)

        send_events(reader, wait_and_write)

    monkeypatch.setattr("pipeline.monitor.routes.send_events", slowly)
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        reader = Events(monitor, "/api/results")
        assert reader.answer.status == 200
        monitor.close()
        assert reader.next()["event"] == "closed"
        reader.close()


def test_a_slow_reader_is_dropped_and_told_and_others_are_not(broker):
    feed = ResultFeed(connector_for(broker), "out.results")
    try:
        slow, quick = feed.open(None, 0, None, 5), feed.open(None, 0, None, 5)
        total = QUEUE_RECORDS + 50
        seen = []
        for second in range(total):
            broker.append(result("a", second))
            if second % 100 == 99:
                while len(seen) <= second:
                    seen += quick.take(5)[0]
        while len(seen) < total:
            seen += quick.take(5)[0]
        assert [one.id for one in seen] == [f"a/{n * 1_000_000}" for n in range(total)]
        assert slow.dropped
        assert slow.take(0) == ([], None)
        assert not quick.dropped
    finally:
        feed.close()


@pytest.fixture
def sleepy(monitor):
    """A client with little room, which reads nothing until it is told to."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", port_of(monitor)))
        connection.sendall(b"GET /api/results HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        yield connection


def test_a_client_that_reads_slowly_is_told_that_it_was_dropped(broker, sleepy, monkeypatch):
    monkeypatch.setattr("pipeline.monitor.reader.QUEUE_BYTES", 1 << 20)
    for second in range(300):
        broker.append(result("a", second, value=b"x" * 64_000))
    rest = b"".join(iter(lambda: sleepy.recv(1 << 20), b""))
    assert b"\nevent: dropped\n" in rest[-200:]


def test_a_client_that_stops_reading_is_let_go(broker, monitor, monkeypatch):
    monkeypatch.setattr("pipeline.monitor.handler.Handler.timeout", 0.2)
    other = Events(monitor, "/api/results")  # of the shorter timeout, and it reads
    with socket.socket() as asleep:
        asleep.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        asleep.connect(("127.0.0.1", port_of(monitor)))
        asleep.sendall(b"GET /api/results HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert asleep.recv(100).startswith(b"HTTP/1.1 200")
        before = len(monitor._feed._readers)
        for second in range(200):
            broker.append(result("a", second, value=b"x" * 64_000))
            other.next()
        while len(monitor._feed._readers) == before:
            threading.Event().wait(0.01)
    other.close()


def test_a_dropped_reader_is_told_so_in_words(broker):
    feed = ResultFeed(connector_for(broker), "out.results")
    try:
        reader = feed.open(None, 0, None, 5)
        reader.dropped = True
        written: list[bytes] = []
        send_events(reader, written.append)
        assert written[-1].startswith(b"event: dropped\ndata: results came faster than")
    finally:
        feed.close()


def test_nobody_looking_costs_nothing(broker, monkeypatch):
    monkeypatch.setattr(results_module, "LINGER_US", 0)
    monkeypatch.setattr(topic_reader, "POLL_S", 0.01)
    feed = ResultFeed(connector_for(broker), "out.results")
    feed.leave(feed.open(None, 0, None, 5))
    with feed._changed:
        assert feed._changed.wait_for(lambda: feed._source._thread is None, 5)
    broker.append(result("a", 1))
    again = feed.open(None, 5, None, 5)
    assert [one.id for one in again.take(5)[0]] == ["a/1000000"]
    feed.close()


def test_what_fails_is_told_and_tried_again(broker, monkeypatch):
    monkeypatch.setattr(topic_reader, "RETRY_S", 0.01)
    feed = ResultFeed(connector_for(broker), "out.results")
    try:
        reader = feed.open(None, 0, None, 5)
        failed = []

        def fail(step: str, _port: object) -> None:
            if step == "poll" and not failed:
                failed.append(step)
                raise OSError("the cable is out")

        broker.hook = fail
        assert reader.take(5) == ([], "the cable is out")
        broker.append(result("a", 1))
        assert [one.id for one in reader.take(5)[0]] == ["a/1000000"]
        broker.truncate(TopicPartition("out.results", 0), 1)
    finally:
        feed.close()


def test_no_stream_id_can_forge_an_event():
    forged = "a\nevent: closed\ndata: gone\r\rid: x\0/0"
    text = result_event(Result(forged, forged, b'{"a":\r\n"b"}', 0)).decode()
    lines = text.split("\n")
    assert "\r" not in text
    assert "\0" not in text
    assert [line.partition(":")[0] for line in lines] == ["id", "data", "data", "", ""]
    assert lines[0] == "id: a%0Aevent: closed%0Adata: gone%0D%0Did: x%00/0"
