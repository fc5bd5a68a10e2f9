"""How a result, or any record, is shown on one line."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from pipeline.cli.result_line import described, pretty
from pipeline.slot.ports import LogRecord

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
RESULT = {
    "stream": "cam-7",
    "window": {"start_us": 1_769_860_800_000_000, "end_us": 1_769_860_801_500_000},
    "rev": 0,
    "present": ["camera", "mic"],
    "missing": ["chat"],
    "coverage": {"mic": 1.0},
    "output": {"vector": [0.123456, -2, 3.0, 4.0, 5.0]},
    "weights": {},
    "attribution": {},
    "text": {"speech": "hello"},
    "data": {},
    "failed": {"faces": "timeout"},
    "model": "lobby@sha256:0",
}


def record(value: bytes | None, **headers: bytes) -> LogRecord:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return LogRecord("lobby.results", 3, 17, 1_769_860_801_700_000, b"cam-7", value, named)


def line(**changed: object) -> str:
    return pretty(record(json.dumps({**RESULT, **changed}).encode()), colours=False)


def test_a_result_is_one_line_of_what_a_person_looks_for():
    assert line() == (
        "cam-7  2026-01-31T12:00:00.000Z +1.5s  camera mic  missing chat  "
        '[0.123 -2 3 4 ...] of 5  speech: "hello"  failed faces: timeout'
    )


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ({"vector": None}, "no vector"),
        ({"vector": [1.0, 2.0]}, "[1 2] of 2"),
        ({"label": "speech", "scores": {"speech": 0.931, "music": 0.069}}, "label speech 0.93"),
        ({"label": None, "scores": {"speech": 0.5}}, "label None"),
    ],
)
def test_outputs_are_shown_by_kind(output, shown):
    assert line(output=output, missing=[], text={}, failed={}).endswith(f"camera mic  {shown}")


def test_colours_are_only_where_they_are_asked_for():
    value = json.dumps(RESULT).encode()
    assert "\x1b[" in pretty(record(value), colours=True)
    assert "\x1b[" not in pretty(record(value), colours=False)


def test_what_came_over_the_network_cannot_move_the_terminal():
    hostile = line(stream="a\x1b[2Jb", text={"speech": "one\ntwo\r\x07"})
    assert hostile.isprintable()
    assert "a\N{REPLACEMENT CHARACTER}[2Jb" in hostile


@pytest.mark.parametrize(
    "value",
    [b"\xff\xd8jpeg", b"", None, b"123", b'{"window": 1}', b'{"window": {}}', b"[" * 99_999],
)
def test_a_record_that_is_no_result_is_shown_by_what_is_known_of_it(value):
    shown = pretty(record(value, content_type=b"image/jpeg", motet_reason=b"late"), colours=False)
    size = len(value or b"")
    assert shown == f"cam-7  lobby.results-3@17  {size} bytes  image/jpeg  late"


def test_json_prints_the_value_as_it_is():
    value = json.dumps(RESULT).encode()
    assert described(record(value)) == value.decode()
    schema = json.loads((SCHEMAS / "result.schema.json").read_text())
    jsonschema.validate(json.loads(value), schema)


def test_json_describes_a_record_that_is_not_json():
    answer = json.loads(described(record(b"\xff\xd8", content_type=b"image/jpeg", raw=b"\xff")))
    assert answer == {
        "topic": "lobby.results",
        "partition": 3,
        "offset": 17,
        "timestamp_us": 1_769_860_801_700_000,
        "key": "cam-7",
        "headers": {"content-type": "image/jpeg", "raw": "base64:/w=="},
        "bytes": 2,
    }
    schema = json.loads((SCHEMAS / "record.schema.json").read_text())
    jsonschema.validate(answer, schema)


def test_json_stays_on_one_line_where_the_value_does_not():
    assert "\n" not in described(record(b'{"a":\n1}'))
