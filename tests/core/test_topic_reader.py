"""One thread that reads topics for an onlooker: once, in order, whatever fails, and no longer."""

from __future__ import annotations

import threading

import pytest
from pipelines import CHAT, broker_for, connector_for, load

from pipeline.connectors import topic_reader
from pipeline.connectors.topic_reader import TopicReader
from pipeline.slot.ports import OutRecord, TopicPartition

FIRST, SECOND = "out.results", "out.late"
PATIENCE_S = 30.0


class Looking:
    """Begins where the topics begin, or at ``back`` records before the end."""

    def __init__(self, back: int | None = None) -> None:
        self.lock = threading.Condition()
        self.back = back
        self.leave = False
        self.values: list[tuple[str, int, bytes]] = []
        self.problems: list[str] = []
        self.begun = self.caught = 0
        self.wrong: list[Exception] = []  # raised by ``take``, each once

    def begin(self, control, partitions):
        self.begun += 1
        found = {}
        for of_topic in partitions.values():
            starts, ends = control.beginnings(of_topic), control.stable_ends(of_topic)
            for at in of_topic:
                found[at] = starts[at] if self.back is None else max(starts[at], ends[at] - 1)
        return found

    def take(self, records):
        with self.lock:
            if self.wrong and records:
                raise self.wrong.pop()
            self.values += [(one.topic, one.partition, one.value) for one in records]
            self.lock.notify_all()

    def caught_up(self):
        with self.lock:
            self.caught += 1
            self.lock.notify_all()

    def failed(self, problem):
        with self.lock:
            self.problems.append(problem)
            self.lock.notify_all()

    def done(self):
        self.lock.notify_all()
        return self.leave

    def await_that(self, holds) -> None:
        with self.lock:
            assert self.lock.wait_for(holds, PATIENCE_S), (self.values, self.problems)


@pytest.fixture
def broker(monkeypatch):
    monkeypatch.setattr(topic_reader, "POLL_S", 0.01)
    monkeypatch.setattr(topic_reader, "RETRY_S", 0.01)
    return broker_for(load(CHAT), 2)


@pytest.fixture
def reading(broker):
    made = []

    def read(looking, topics=(FIRST, SECOND)):
        reader = TopicReader(connector_for(broker), topics, looking, looking.lock, "reading")
        made.append(reader)
        reader.wake()
        return reader

    yield read
    for reader in made:
        reader.close()
    assert [one for one in threading.enumerate() if one.name == "reading"] == []


def write(broker, value: bytes, topic: str = FIRST, partition: int = 0) -> None:
    broker.append(OutRecord(topic, partition, b"s", value, []))


def of(looking, topic: str = FIRST, partition: int = 0) -> list[bytes]:
    return [value for t, p, value in looking.values if (t, p) == (topic, partition)]


def test_each_partition_is_read_from_where_it_begins_on(broker, reading):
    for number in range(3):
        write(broker, b"%d" % number)
        write(broker, b"late %d" % number, SECOND, 1)
    looking = Looking()
    reading(looking)
    looking.await_that(lambda: looking.caught == 1)
    assert of(looking) == [b"0", b"1", b"2"]
    assert of(looking, SECOND, 1) == [b"late 0", b"late 1", b"late 2"]
    write(broker, b"3")
    looking.await_that(lambda: len(looking.values) == 7)
    assert of(looking)[-1] == b"3"
    assert (looking.begun, looking.caught, looking.problems) == (1, 1, [])


def test_it_goes_on_where_it_was_after_a_poll_that_failed(broker, reading):
    looking = Looking()
    reading(looking)
    looking.await_that(lambda: looking.caught == 1)
    failures = [OSError("the cable\nis out"), ConnectionResetError()]

    def fail(step: str, _port: object) -> None:
        if step == "poll" and failures:
            raise failures.pop()

    write(broker, b"before")
    looking.await_that(lambda: of(looking) == [b"before"])
    broker.hook = fail
    write(broker, b"meanwhile")
    looking.await_that(lambda: len(looking.problems) == 2)
    write(broker, b"after")
    looking.await_that(lambda: of(looking) == [b"before", b"meanwhile", b"after"])
    assert looking.problems == ["ConnectionResetError", "the cable is out"]
    looking.await_that(lambda: looking.caught > 1)  # and its onlooker knows that it is over
    assert looking.begun == 1


def test_what_an_onlooker_could_not_take_is_given_again(broker, reading):
    looking = Looking()
    looking.wrong = [ValueError("not now")]
    for number in range(3):
        write(broker, b"%d" % number)
    reading(looking)
    looking.await_that(lambda: of(looking) == [b"0", b"1", b"2"])
    assert looking.problems == ["not now"]


def test_a_position_that_the_log_no_longer_holds_is_asked_for_anew(broker, reading):
    looking = Looking()
    reading(looking)
    looking.await_that(lambda: looking.caught == 1)
    broker.hook = lambda step, _port: _cut(broker, step)
    looking.await_that(lambda: looking.begun == 2)
    write(broker, b"on it goes")
    looking.await_that(lambda: of(looking)[-1:] == [b"on it goes"])


def _cut(broker, step: str) -> None:
    """Before the next poll: what it would read is gone."""
    if step == "poll":
        broker.hook = None
        for number in range(5):
            write(broker, b"%d" % number)
        broker.truncate(TopicPartition(FIRST, 0), 5)


def test_a_topic_that_is_missing_is_told_until_it_is_there(broker, reading):
    looking = Looking()
    reading(looking, [FIRST, "not.yet"])
    looking.await_that(lambda: len(looking.problems) > 1)
    assert looking.problems[0] == (
        "topic not.yet: it is not there; `motet topics create FILE` makes it"
    )
    broker.create_topic("not.yet", 1)
    write(broker, b"here", "not.yet")
    looking.await_that(lambda: of(looking, "not.yet") == [b"here"])


def test_nobody_looking_ends_the_thread_and_the_next_one_begins_anew(broker, reading):
    looking = Looking(back=1)
    reader = reading(looking)
    looking.await_that(lambda: looking.caught == 1)
    [thread] = [one for one in threading.enumerate() if one.name == "reading"]
    looking.leave = True
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    for number in range(4):
        write(broker, b"%d" % number)
    looking.leave = False
    reader.wake()
    reader.wake()  # one thread, however often it is asked for
    looking.await_that(lambda: looking.caught == 2)
    assert of(looking) == [b"3"]
    assert len([one for one in threading.enumerate() if one.name == "reading"]) == 1


def test_a_wake_while_the_end_is_decided_is_not_lost(broker, reading):
    looking = Looking()
    reader = reading(looking)
    looking.await_that(lambda: looking.caught == 1)
    asked = threading.Event()

    def done() -> bool:
        if not asked.is_set():
            waking = threading.Thread(target=lambda: (asked.set(), reader.wake()))
            waking.start()
            asked.wait(PATIENCE_S)  # it waits for the lock by now, or soon
            return True
        return False

    looking.done = done
    looking.await_that(lambda: looking.begun == 2)
    write(broker, b"seen")
    looking.await_that(lambda: of(looking) == [b"seen"])


def test_closing_does_not_wait_for_the_next_try(broker, reading, monkeypatch):
    monkeypatch.setattr(topic_reader, "RETRY_S", 3600)
    looking = Looking()
    reader = reading(looking, ["not.yet"])
    looking.await_that(lambda: looking.problems)
    reader.close()
    reader.wake()
    assert [one for one in threading.enumerate() if one.name == "reading"] == []
