"""How an entry of the dead-letter topic is shown: whole where it can be, and safe always."""

from __future__ import annotations

import json

import pytest

from pipeline.cli.dlq_entry import as_json, entry_of, lines_of, preview
from pipeline.cli.table import table
from pipeline.cli.terminal import printable
from pipeline.slot.ports import LogRecord

INPUTS = {"lobby.audio": "mic"}


def record(value: bytes | None, key: bytes | None = b"cam-7", **headers: bytes) -> LogRecord:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return LogRecord("lobby.dead", 3, 17, 1_769_860_801_700_000, key, value, named)


ORIGIN = {
    "motet_reason": b"undecodable",
    "motet_error": b"no samples",
    "motet_topic": b"lobby.audio",
    "motet_partition": b"3",
    "motet_offset": b"41",
    "content_type": b"audio/L16;rate=16000",
    "ce_id": b"x/1",
}


def test_an_entry_says_what_it_was_and_where_it_came_from():
    entry = entry_of(record(b"\x00\x01\xff", motet_stage=b"sound", **ORIGIN), INPUTS)
    assert (entry.reason, entry.input, entry.stage) == ("undecodable", "mic", "sound")
    assert (entry.source, entry.size_bytes) == ("lobby.audio[3]@41", 3)
    assert lines_of(entry) == [
        "lobby.dead[3]@17  2026-01-31T12:00:01.700Z  undecodable  stage sound",
        "  error    no samples",
        "  from     lobby.audio[3]@41  key cam-7",
        "  headers  ce-id=x/1",
        "  value    3 bytes  audio/L16;rate=16000  00 01 ff",
    ]
    assert json.loads(json.dumps(as_json(entry)))["time"] == "2026-01-31T12:00:01.700000Z"


def test_the_size_is_that_of_the_original_where_that_did_not_fit():
    assert entry_of(record(b"", motet_original_bytes=b"40000000"), INPUTS).size_bytes == 40_000_000
    for nonsense in (b"", b"-1", "\u0663".encode(), b"x"):
        assert entry_of(record(b"ab", motet_original_bytes=nonsense), INPUTS).size_bytes == 2


def test_a_record_of_another_make_is_shown_as_what_it_is():
    entry = entry_of(record(None, key=None, motet_topic=b"other"), INPUTS)
    assert (entry.reason, entry.input, entry.key, entry.preview) == (
        "unknown", "other", None, "(empty)",
    )  # fmt: skip
    assert entry_of(record(b"x", key=b"\xff"), {}).key == r"\xff"


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (b"", "text/plain", "(empty)"),
        (b"hello", "text/plain", '"hello"'),
        (b'{"a": 1}', "application/json", '"{\\"a\\": 1}"'),
        (b"x" * 100, "text/plain", f'"{"x" * 60}..."'),
        ("\u00e4".encode() * 200, "", f'"{chr(0xE4) * 60}..."'),
        (b"\x1b[2Jgone", "text/plain", '"\\u001b[2Jgone"'),
        (b"\xff\xfe", "text/plain", "ff fe"),
        (bytes(20), "image/jpeg", "00 " * 16 + "..."),
        (b"RIFF", "audio/wav", "52 49 46 46"),
    ],
)
def test_a_value_is_previewed_by_what_it_is(value, kind, shown):
    assert preview(value, kind) == shown


def test_nothing_reaches_a_terminal_that_it_would_obey():
    hostile = "a\x1b]0;x\x07\u202eb\r\n"
    assert printable(
        hostile
    ) == "a\N{REPLACEMENT CHARACTER}]0;x" + "\N{REPLACEMENT CHARACTER}" * 2 + (
        "b" + "\N{REPLACEMENT CHARACTER}" * 2
    )
    entry = entry_of(record(hostile.encode(), key=hostile.encode(), motet_error=b"\x9b1m"), INPUTS)
    assert all(line.isprintable() for line in lines_of(entry))


def test_tables_put_numbers_right_and_words_left():
    assert table(("lane", "input"), [(0, "mic"), (10, None)]) == [
        "lane  input",
        "   0  mic",
        "  10  -",
    ]
    assert table(("lane", "x"), []) == ["lane  x"]
