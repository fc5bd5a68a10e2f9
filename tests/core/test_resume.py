"""``motet publish --resume``: whatever was sent, the rest follows, once."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from films import film, tone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import clock
from pipeline.cli.publish_play import Play, play_to
from pipeline.connectors import resume
from pipeline.connectors.files import PICTURES, SourceFile, Target, Timeline, parts
from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.errors import InvalidInput
from pipeline.slot.ports import OutRecord, TopicPartition

S = 1_000_000
PARTITIONS = 2
TOPICS = ("a", "b")


class Stopping(MemoryConnector):
    """A publisher that sets ``stop`` once it has sent so many records."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        object.__setattr__(self, "left", -1)
        object.__setattr__(self, "stop", threading.Event())

    def arm(self, count: int) -> threading.Event:
        object.__setattr__(self, "left", count)
        object.__setattr__(self, "stop", threading.Event())
        if count == 0:
            self.stop.set()
        return self.stop

    def publisher(self):
        inner = super().publisher()
        send = inner.send

        def count(record: OutRecord) -> None:
            send(record)
            object.__setattr__(self, "left", self.left - 1)
            if self.left == 0:
                self.stop.set()

        inner.send = count
        return inner


def connector() -> Stopping:
    found = Stopping(MemoryBroker(clock.wall_us))
    for topic in TOPICS:
        found.control().create_topic(topic, PARTITIONS, None, {})
    return found


def log(connector: MemoryConnector) -> dict[TopicPartition, list[tuple]]:
    """What a reader sees, but for the log's own timestamps."""
    source = connector.source()
    source.assign({TopicPartition(t, n): 0 for t in TOPICS for n in range(PARTITIONS)})
    return {
        TopicPartition(fetch.topic, fetch.partition): [
            (record.key, record.value, tuple(record.headers)) for record in fetch.records
        ]
        for fetch in source.poll(0)
    }


def texts(folder: Path, topic: str, stream: str, counts: list[int]) -> Timeline:
    files = []
    for number, count in enumerate(counts):
        path = folder / f"{topic}-{stream}-{number}.txt"
        path.write_text("\n".join(f"{stream} {number} {line}" for line in range(count)))
        files.append(SourceFile(path, "text", "text/plain"))
    return Timeline(Target(topic), stream, tuple(files), S)


def play(to: MemoryConnector, lines: list[Timeline], stop=None, **how):
    period_us = max(line.duration_us() for line in lines)
    given_ = {"loops": 1, "start_us": 100 * S, "realtime": False, **how}
    return play_to(to, Play(lines, period_us, **given_), "make it", stop or threading.Event())


@given(
    lines=st.lists(
        st.tuples(st.sampled_from(TOPICS), st.lists(st.integers(1, 4), min_size=1, max_size=3)),
        min_size=1,
        max_size=4,
    ),
    stops=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    loops=st.integers(1, 3),
    told=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_stopped_anywhere_and_gone_on_with_the_topics_hold_what_one_run_gives(
    tmp_path, lines, stops, loops, told
):
    """``told``: every run is given --start; otherwise the topics tell it."""
    made = [texts(tmp_path, topic, f"s{n}", counts) for n, (topic, counts) in enumerate(lines)]
    whole, broken = connector(), connector()
    total = play(whole, made, loops=loops).records
    sent = play(broken, made, broken.arm(stops[0]), loops=loops).records
    for count in [*stops[1:], -1]:
        # nothing was sent that could tell: the user has to
        start_us = 100 * S if told or sent == 0 else None
        stop = broken.arm(count)
        sent += play(broken, made, stop, loops=loops, start_us=start_us, resume=True).records
    assert sent == total
    assert log(broken) == log(whole)


def test_sound_and_pictures_of_films_go_on_to_the_sample(tmp_path):
    lines = []
    for name in ("x", "y"):
        file = film(tmp_path / f"{name}.mkv", 2, sound=tone(2, 330))
        for part in parts(file):
            target = Target("a" if part.kind == "audio" else "b")
            lines.append(Timeline(target, name, (part,), 300_000, PICTURES))
    whole, broken = connector(), connector()
    play(whole, lines)
    play(broken, lines, broken.arm(9))
    play(broken, lines, start_us=None, resume=True)
    assert log(broken) == log(whole)


def test_what_others_have_sent_meanwhile_is_passed_over(tmp_path, monkeypatch):
    """Behind the last record stand more than are read at once, of the same stream too."""
    monkeypatch.setattr(resume, "_TAIL_RECORDS", 3)
    line = texts(tmp_path, "a", "s", [6])
    to = connector()
    play(to, [line], to.arm(4))
    publisher = to.publisher()
    for number in range(40):
        key = b"s" if number % 2 else b"other"
        for partition in range(PARTITIONS):
            publisher.send(OutRecord("a", partition, key, b"x", [("ce_source", b"elsewhere")]))
    assert play(to, [line], start_us=None, resume=True).records == 2


def test_everything_that_is_there_is_not_sent_again(tmp_path, capsys):
    line = texts(tmp_path, "a", "s", [3])
    to = connector()
    play(to, [line])
    assert play(to, [line], start_us=None, resume=True).records == 0
    err = capsys.readouterr().err
    assert "going on behind 3 records that the topics hold" in err
    assert "everything is there already" in err


def test_in_real_time_the_next_record_is_due_at_once(tmp_path):
    line = texts(tmp_path, "a", "s", [30, 2])
    to = connector()
    play(to, [line], to.arm(31))
    began_us = clock.monotonic_us()
    assert play(to, [line], start_us=None, resume=True, realtime=True).records == 1
    assert clock.monotonic_us() - began_us < 5 * S


@pytest.mark.parametrize("change", ["another chunk", "another file", "another start"])
def test_a_topic_that_holds_something_else_is_told_and_nothing_is_sent(tmp_path, change):
    rate = 8_000
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(rate * 4, np.int16), rate)
    line = Timeline(Target("a"), "s", (SourceFile(path, "audio", "audio/wav"),), S)
    to = connector()
    play(to, [line], to.arm(2))
    start_us = None
    if change == "another chunk":
        line = Timeline(line.target, "s", line.files, S // 2)
    elif change == "another file":
        (tmp_path / "0.wav").write_bytes(path.read_bytes())
        first = SourceFile(tmp_path / "0.wav", "audio", "audio/wav")
        line = Timeline(line.target, "s", (first, *line.files), S)
    else:
        start_us = 7 * S
    before = log(to)
    with pytest.raises(Exception, match=r"--resume: record 1 of stream s in topic a is ") as error:
        play(to, [line], start_us=start_us, resume=True)
    assert isinstance(error.value, InvalidInput)
    assert "--chunk" in str(error.value)
    assert log(to) == before
