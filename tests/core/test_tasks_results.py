"""Result records, header by header and key by key (contract section 4)."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pipelines import LOBBY, load

from pipeline.fusion.linear import Fused
from pipeline.media.event_time import Rfc3339
from pipeline.tasks.messages import Opened
from pipeline.tasks.results import ResultWriter, rfc3339

OPENED = Opened(
    lane=3,
    window=8,
    stream="cam-é",
    start_us=1_000_000,
    end_us=2_000_001,
    present=("cam", "mic"),
    missing=("chat",),
    coverage={"mic": 0.25},
    stages=("sound", "colour"),
)
FUSED = Fused(
    np.array([0.5, -2.0], np.float32), {"sound": 0.25, "colour": 0.75}, {"sound": 1.0}, None
)


@pytest.fixture
def spec():
    return load(LOBBY)


def write(spec, outputs=None, failed=None, fused=FUSED):
    return ResultWriter(spec).write(OPENED, outputs or {}, failed or {}, fused)


def test_the_record_is_as_the_contract_says(spec):
    record = write(spec)
    assert (record.topic, record.partition, record.key) == ("out.results", 3, "cam-é".encode())
    assert record.timestamp_us is None  # when it was produced
    assert list(record.headers) == [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_type", b"motet.result.v1"),
        ("ce_source", b"motet/lobby"),
        ("ce_id", "cam-é/1000000".encode()),
        ("ce_time", b"1970-01-01T00:00:02.000001Z"),
    ]


def test_keys_stand_in_the_contracts_order_and_inner_ones_are_sorted(spec):
    outputs = {"words": "said", "faces": {"b": 1, "a": [2]}, "sound": np.zeros(2, np.float32)}
    value = write(spec, outputs, {"late": "timeout", "colour": "ValueError: no"}).value
    found = json.loads(value, object_pairs_hook=list)
    assert [key for key, _ in found] == [
        "stream",
        "window",
        "rev",
        "present",
        "missing",
        "coverage",
        "output",
        "weights",
        "attribution",
        "text",
        "data",
        "failed",
        "model",
    ]
    by = dict(found)
    assert by["stream"] == "cam-é"
    assert by["window"] == [("start_us", 1_000_000), ("end_us", 2_000_001)]
    assert by["rev"] == 0
    assert (by["present"], by["missing"]) == (["cam", "mic"], ["chat"])
    assert dict(by["output"]) == {"vector": [0.5, -2.0]}
    assert [key for key, _ in by["weights"]] == ["colour", "sound"]
    assert dict(by["text"]) == {"words": "said"}
    assert [key for key, _ in dict(by["data"])["faces"]] == ["a", "b"]
    assert by["failed"] == [("colour", "ValueError: no"), ("late", "timeout")]
    assert by["model"] == f"lobby@sha256:{spec.model_hash()}"


def test_without_any_vector_the_output_says_null(spec):
    value = write(spec, fused=Fused(None, {}, {}, None)).value
    assert json.loads(value)["output"] == {"vector": None}


def test_a_fusion_class_that_fails_is_told_beside_the_stages(spec):
    fused = Fused(None, {}, {}, "ValueError: no")
    assert json.loads(write(spec, failed={"sound": "timeout"}, fused=fused).value)["failed"] == {
        "fusion": "ValueError: no",
        "sound": "timeout",
    }


def test_the_same_window_gives_the_same_bytes(spec):
    one = write(spec, {"a": "x", "b": "y"}, {"d": "1", "c": "2"})
    other = write(spec, {"b": "y", "a": "x"}, {"c": "2", "d": "1"})
    assert one == other


@pytest.mark.parametrize(
    ("time_us", "text"),
    [
        (0, b"1970-01-01T00:00:00.000Z"),
        (1, b"1970-01-01T00:00:00.000001Z"),
        (-1, b"1969-12-31T23:59:59.999999Z"),
        (1_767_225_599_250_000, b"2025-12-31T23:59:59.250Z"),
        (253_402_300_799_999_999, b"9999-12-31T23:59:59.999999Z"),
        (-62_135_596_800_000_000, b"0001-01-01T00:00:00.000Z"),
    ],
)
def test_times_are_rfc_3339_and_read_back_as_they_were(time_us, text):
    assert rfc3339(time_us) == text
    assert Rfc3339().parse_us(text) == time_us


@pytest.mark.parametrize("time_us", [-(10**18), 10**18, -(1 << 70), 1 << 70])
def test_a_time_beyond_the_years_that_rfc_3339_has_stops_nothing(time_us):
    """A window may begin before year 1, and a clock may be thousands of years ahead."""
    text = rfc3339(time_us)
    assert text[:5] == (b"0001-" if time_us < 0 else b"9999-")
    Rfc3339().parse_us(text)
