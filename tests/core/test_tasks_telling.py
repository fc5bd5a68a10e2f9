"""What a run says on its own, what it notices about streams, and how it tries again."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from pipelines import media

from pipeline.errors import MotetError, Transient
from pipeline.record import Facts
from pipeline.tasks import retry as retrying
from pipeline.tasks import stream_watch
from pipeline.tasks.retry import Retry
from pipeline.tasks.stream_watch import StreamWatch
from pipeline.tasks.telling import AGAIN_US, QUIET_US, Telling

WAITING = ["waiting for camera in lane 0: its windows close in 3.2 s"]


@pytest.fixture
def told():
    lines: list[str] = []
    return lines, Telling(lines.append)


def test_a_warning_is_said_at_once(told):
    lines, telling = told
    telling.look(0, 0, [], ["one", "two"])
    telling.look(1, 0, [], [])
    assert lines == ["motet: warning: one", "motet: warning: two"]


def test_what_is_waited_for_is_said_after_a_while_without_results_and_then_now_and_again(told):
    lines, telling = told
    said = "motet: " + WAITING[0]
    telling.look(5, 0, WAITING, [])
    telling.look(5 + QUIET_US - 1, 0, WAITING, [])
    assert lines == []
    telling.look(5 + QUIET_US, 0, WAITING, [])
    assert lines == [said]
    telling.look(5 + QUIET_US + AGAIN_US - 1, 0, WAITING, [])
    assert lines == [said]
    telling.look(5 + QUIET_US + AGAIN_US, 0, WAITING, [])
    assert lines == [said, said]


def test_a_result_begins_the_silence_anew(told):
    lines, telling = told
    for now_us, windows in ((0, 0), (QUIET_US - 1, 1), (2 * QUIET_US - 2, 1)):
        telling.look(now_us, windows, WAITING, [])
    assert lines == []
    telling.look(2 * QUIET_US - 1, 1, WAITING, [])
    assert len(lines) == 1
    telling.look(2 * QUIET_US, 2, WAITING, [])
    telling.look(3 * QUIET_US, 2, WAITING, [])  # not put off by what was told before
    assert len(lines) == 2


def test_without_an_open_window_it_waits_for_records(told):
    lines, telling = told
    telling.look(0, 0, [], [])
    telling.look(QUIET_US, 0, [], [])
    assert lines == ["motet: waiting for records: no window is open"]


# -- streams --------------------------------------------------------------------------------

SPEECH = (3_000 * np.sin(np.arange(2_000) / 9)).astype(">i2").tobytes()


def audio(payload=SPEECH, format="S16BE", **settings):
    facts = Facts("audio", format, 16_000, 1, len(payload) // 2)
    return media("mic", 0, 1, payload=payload, facts=facts, **settings)


def test_swapped_bytes_are_told_once_a_stream_with_the_remedy():
    watch = StreamWatch()
    for record in (audio(), audio(format="S16LE", stream="a"), audio(format="S16LE", stream="b")):
        watch.look(record)
        watch.look(record)
    warnings = watch.take_warnings()
    assert len(warnings) == 2
    assert "inputs.mic: audio of stream 'a' looks byte-swapped (S16LE)" in warnings[0]
    assert "type: audio/x-raw;format=S16LE;rate=16000;channels=1" in warnings[0]
    assert watch.take_warnings() == []


def test_a_stream_on_two_partitions_is_counted_and_told_once():
    watch = StreamWatch()
    for lane in (0, 1, 1, 0):
        watch.look(media("cam", 0, 1, stream="split", lane=lane))
    for name in ("cam", "chat"):
        watch.look(media(name, 0, 1, stream="whole", lane=1))
    assert watch.copartition_violations == 2
    [warning] = watch.take_warnings()
    assert "inputs.cam: stream 'split' came on partition 1 and on 0 before" in warning
    watch.look(media("chat", 0, 1, stream="split", lane=1))
    assert watch.copartition_violations == 3
    assert watch.take_warnings() == []


def test_what_it_remembers_of_streams_is_bounded(monkeypatch):
    monkeypatch.setattr(stream_watch, "STREAMS_MAX", 10)
    watch = StreamWatch()
    for number in range(100):
        watch.look(media("cam", 0, 1, stream=f"s{number}", lane=number % 2))
    assert len(watch._seen) <= 10
    assert len(watch._partitions) <= 11


# -- trying again ---------------------------------------------------------------------------


class Stop(threading.Event):
    """An event that is waited for without waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0)
        return self.is_set()


def test_it_waits_longer_each_time_up_to_a_bound_and_without_end():
    stop = Stop()
    left = [30]

    def work() -> str:
        if left[0]:
            left[0] -= 1
            raise Transient("away")
        return "there"

    assert Retry(stop).call(work) == "there"
    assert len(stop.waits) == 30
    assert stop.waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert stop.waits == sorted(stop.waits)
    assert stop.waits[-1] == retrying.LONGEST_S


def test_a_host_that_stops_tries_no_more():
    stop = Stop()

    def work() -> None:
        stop.set()
        raise Transient("away")

    with pytest.raises(MotetError, match="run again") as caught:
        Retry(stop).call(work)
    assert type(caught.value) is MotetError
    assert len(stop.waits) == 1


def test_a_drain_finishes_what_another_event_may_still_end():
    told, abandoned = Stop(), Stop()
    retry = Retry(told)
    retry.until(abandoned)
    told.set()
    left = [3]

    def work() -> str:
        if left[0]:
            left[0] -= 1
            raise Transient("away")
        return "there"

    assert retry.call(work) == "there"
    abandoned.set()
    left[0] = 1
    with pytest.raises(MotetError, match="run again"):
        retry.call(work)


def test_only_the_moments_fault_is_tried_again():
    stop = Stop()

    def work() -> None:
        raise replaced

    for replaced in (MotetError("no"), ValueError("no")):
        with pytest.raises(type(replaced)):
            Retry(stop).call(work)
    assert stop.waits == []


def test_once_results_have_come_silence_for_two_windows_is_no_news():
    lines: list[str] = []
    telling = Telling(lines.append, window_us=QUIET_US)
    telling.look(0, 0, WAITING, [])
    telling.look(QUIET_US, 0, WAITING, [])
    assert len(lines) == 1  # none yet
    telling.look(QUIET_US + 1, 1, WAITING, [])
    telling.look(3 * QUIET_US, 1, WAITING, [])
    assert len(lines) == 1
    telling.look(3 * QUIET_US + 1, 1, WAITING, [])
    assert len(lines) == 2
