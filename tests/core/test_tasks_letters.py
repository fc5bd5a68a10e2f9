"""Late and dead-letter records, header by header (contract section 4)."""

from __future__ import annotations

import json

import pytest
from pipelines import media

from pipeline.connectors.limits import batch_bytes
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.record import UnsoundRecord
from pipeline.slot.ports import LogRecord, OutRecord, TopicPartition
from pipeline.tasks.letters import HEADER_CHARS_MAX, LetterBox

ORIGINAL = (("content-type", b"text/plain"), ("ce_id", b"7"), ("x", b"\xff\x00"))
RECORD = LogRecord("in.chat", 3, 41, 1_000, b"\xffkey", b"the value", list(ORIGINAL))


@pytest.fixture
def box() -> LetterBox:
    return LetterBox("out.late", "out.dead", 100, {"out.dead": 700, "out.late": 700})


def test_a_late_record_has_the_clock_and_the_windows_that_it_missed(box):
    letter = box.late(RECORD, (-250, 0, 1_000_000), 1_750_000)
    assert letter._replace(headers=()) == OutRecord("out.late", 3, b"\xffkey", b"the value", ())
    assert letter.timestamp_us is None  # when it is produced
    headers = dict(letter.headers)
    assert headers.pop("motet-error") != b""
    assert headers == dict(ORIGINAL) | {
        "motet-reason": b"late",
        "motet-topic": b"in.chat",
        "motet-partition": b"3",
        "motet-offset": b"41",
        "motet-clock-us": b"1750000",
        "motet-windows": b"-250,0,1000000",
    }


@pytest.mark.parametrize("reason", ["undecodable", "too-large", "future", "bad-record"])
def test_an_unsound_record_says_why(box, reason):
    letter = box.unsound(UnsoundRecord("chat", reason, "it is odd", RECORD))
    assert letter._replace(headers=()) == OutRecord("out.dead", 3, b"\xffkey", b"the value", ())
    assert list(letter.headers) == [
        *ORIGINAL,
        ("motet-reason", reason.encode()),
        ("motet-error", b"it is odd"),
        ("motet-topic", b"in.chat"),
        ("motet-partition", b"3"),
        ("motet-offset", b"41"),
    ]


def test_an_undecodable_record_names_the_stage(box):
    letter = box.undecodable(RECORD, "colour", "jpeg: broken")
    headers = dict(letter.headers)
    assert letter.topic == "out.dead"
    assert headers["motet-reason"] == b"undecodable"
    assert headers["motet-stage"] == b"colour"
    assert headers["motet-error"] == b"jpeg: broken"


def test_motets_headers_of_an_original_are_replaced(box):
    """A record that is replayed from a dead-letter topic carries those of its first death."""
    replayed = RECORD._replace(
        headers=[("motet-reason", b"late"), ("motet-windows", b"1"), *ORIGINAL]
    )
    letter = box.unsound(UnsoundRecord("chat", "bad-record", "no", replayed))
    names = [name for name, _ in letter.headers]
    assert len(names) == len(set(names))
    assert dict(letter.headers)["motet-reason"] == b"bad-record"
    assert "motet-windows" not in names


def test_a_value_over_the_limit_is_left_out_and_its_size_is_told(box):
    kept = RECORD._replace(value=b"x" * 100)
    assert box.late(kept, (0,), 5).value == b"x" * 100
    over = RECORD._replace(value=b"x" * 101)
    for letter in (
        box.late(over, (0,), 5),
        box.unsound(UnsoundRecord("chat", "too-large", "no", over)),
        box.undecodable(over, "words", "no"),
    ):
        assert letter.value == b""
        assert letter.key == RECORD.key
        assert dict(letter.headers)["motet-original-bytes"] == b"101"
        assert dict(letter.headers)["content-type"] == b"text/plain"


def test_no_letter_is_larger_than_its_topic_takes():
    """The sender may have compressed what is sent here as it is."""
    wide = LetterBox("out.late", "out.dead", 1 << 20, {"out.dead": 700})
    over = RECORD._replace(value=b"x" * 700)
    assert wide.late(over, (0,), 5).value == b"x" * 700  # its topic's limit is not known
    letter = wide.undecodable(over, "words", "no")
    assert batch_bytes(letter) <= 700
    assert letter.value == b""
    assert dict(letter.headers)["motet-original-bytes"] == b"700"
    assert letter.headers[: len(ORIGINAL)] == ORIGINAL
    assert wide.undecodable(RECORD, "words", "no").value == RECORD.value


@pytest.mark.parametrize(
    ("huge", "key"),
    [({"key": b"k" * 700}, None), ({"headers": [("h", b"x" * 700)]}, RECORD.key)],
    ids=["key", "header"],
)
def test_a_key_or_header_that_fills_a_letter_is_left_out_with_the_value(box, huge, key):
    letter = box.unsound(UnsoundRecord("chat", "bad-record", "no", RECORD._replace(**huge)))
    assert batch_bytes(letter) <= 700
    assert (letter.key, letter.value) == (key, b"")
    headers = dict(letter.headers)
    assert headers["motet-original-bytes"] == b"9"
    assert headers["motet-offset"] == b"41"
    assert headers["motet-reason"] == b"bad-record"


def test_a_window_of_too_many_records_is_told_without_their_names(box):
    records = tuple(("in.chat", 0, offset) for offset in range(100))
    letter = box.failed(0, "s", (0, 1), "words", "no", records)
    assert batch_bytes(letter) <= 700
    assert letter.value == b""
    assert int(dict(letter.headers)["motet-original-bytes"]) > 1_000
    assert dict(letter.headers)["motet-stage"] == b"words"


def test_a_record_without_key_or_value_keeps_it_so(box):
    letter = box.unsound(
        UnsoundRecord("chat", "bad-record", "no key", RECORD._replace(key=None, value=None))
    )
    assert (letter.key, letter.value) == (None, None)


def test_a_header_without_a_value_stays_so(box):
    headers = [("h", None), ("ce_time", None)]
    letter = box.unsound(
        UnsoundRecord("chat", "bad-record", "no", RECORD._replace(headers=headers))
    )
    assert list(letter.headers[:2]) == headers


@pytest.mark.parametrize("error", ["x" * 5_000, "é" * 5_000, "half a pair: \ud800 "])
def test_an_error_text_goes_into_a_header_whatever_it_holds(error):
    wide = LetterBox("out.late", "out.dead", 100, {})
    letter = wide.undecodable(RECORD, "words", error)
    text = dict(letter.headers)["motet-error"].decode()
    assert 0 < len(text) <= HEADER_CHARS_MAX
    json.loads(wide.failed(0, "s", (0, 1), "words", error, ()).value)


def test_a_window_that_a_stage_failed_on_is_one_json_entry(box):
    letter = box.failed(
        2, "cam-é", (-1_000, 500), "colour", "ValueError: no", (("in.cam", 2, 7), ("in.cam", 2, 9))
    )
    assert letter.topic == "out.dead"
    assert letter.partition == 2
    assert letter.key == "cam-é".encode()
    assert json.loads(letter.value) == {
        "stream": "cam-é",
        "window": {"start_us": -1_000, "end_us": 500},
        "stage": "colour",
        "error": "ValueError: no",
        "records": [["in.cam", 2, 7], ["in.cam", 2, 9]],
    }
    headers = dict(letter.headers)
    assert headers["motet-reason"] == b"encode-failed"
    assert headers["motet-stage"] == b"colour"
    assert headers["motet-error"] == b"ValueError: no"


def test_what_it_makes_can_be_produced(box):
    broker = MemoryBroker()
    for topic in ("out.late", "out.dead"):
        broker.create_topic(topic, 4)
    log = media("chat", 0, 1).log
    for letter in (
        box.late(log, (0,), 5),
        box.unsound(UnsoundRecord("chat", "future", "no", log)),
        box.undecodable(log, "words", "no"),
        box.failed(0, "s", (0, 1), "words", "no", ()),
    ):
        broker.append(letter)
    assert broker.last(TopicPartition("out.dead", 0)).offset == 2
