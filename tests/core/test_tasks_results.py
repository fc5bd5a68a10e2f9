"""Result records, header by header and key by key (contract section 4)."""

from __future__ import annotations

import json

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipelines import LOBBY, load

from pipeline.encoders.base import Said
from pipeline.fusion.linear import Fused
from pipeline.media.event_time import Rfc3339
from pipeline.slot.ledger import Entry, Ledger
from pipeline.tasks.fusion_slot import Pending
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
FUSED = Fused(np.array([0.5, -2.0]), {"sound": 0.25, "colour": 0.75}, {"sound": 1.0}, None)


@pytest.fixture
def spec():
    return load(LOBBY)


def pending(opened=OPENED, outputs=None, failed=None):
    return Pending(opened, Entry(opened.lane), Ledger(), None, outputs or {}, failed or {})


def write(spec, outputs=None, failed=None, fused=FUSED):
    [record] = ResultWriter(spec).write([pending(outputs=outputs, failed=failed)], [fused])
    return record


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


texts = st.text(max_size=4)
floats = st.floats(allow_nan=False, allow_infinity=False)
shares = st.dictionaries(texts, floats, max_size=3)
outputs = st.one_of(
    texts,
    st.dictionaries(texts, floats | texts, max_size=3),
    st.builds(Said, texts, shares),
    st.just(np.zeros(2, np.float32)),
)
vectors = st.lists(floats, max_size=5).map(lambda numbers: np.array(numbers, np.float64))
SHARED = {"sound": 0.1, "colour": 1e-7}  # windows that are alike share their weights
fusions = st.one_of(
    st.builds(Fused, vectors, st.just(SHARED) | shares, shares),
    st.builds(Fused, st.none(), st.just({}), st.just({}), texts),
    st.builds(Fused, st.none(), shares, shares, st.none(), st.none() | texts, shares),
)
windows = st.tuples(
    texts,
    st.integers(-(10**15), 10**16),
    st.sets(texts, max_size=3).map(tuple),
    shares,
    st.dictionaries(texts, outputs, max_size=3),
    st.dictionaries(texts, texts, max_size=3),
    fusions,
)


def plainly(name: str, model: str, window) -> bytes:
    """The contract's section 4 through Python's own json, a dict at a time."""
    stream, start_us, names, coverage, outputs, failed, fused = window
    output = {"vector": None if fused.vector is None else name}
    if fused.scores is not None:
        output = {"label": fused.label, "scores": dict(sorted(fused.scores.items()))}
    data = {s: out.data if isinstance(out, Said) else out for s, out in outputs.items()
            if isinstance(out, Said | dict)}  # fmt: skip
    told = {} if fused.failure is None else {"fusion": fused.failure}
    maps = {
        "weights": fused.weights,
        "attribution": fused.attribution,
        "text": {s: str(out) for s, out in outputs.items() if isinstance(out, str)},
        "data": {s: dict(sorted(d.items())) for s, d in data.items()},
        "failed": {**failed, **told},
    }
    value = {
        "stream": stream,
        "window": {"start_us": start_us, "end_us": start_us + 1},
        "rev": 0,
        "present": sorted(names),
        "missing": sorted(names),
        "coverage": dict(sorted(coverage.items())),
        "output": output,
        **{each: dict(sorted(found.items())) for each, found in maps.items()},
        "model": model,
    }
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@given(st.lists(windows, max_size=5))
def test_results_that_are_written_together_are_each_as_it_would_be_alone(told):
    spec = load(LOBBY)
    writer = ResultWriter(spec)
    whole = [
        pending(Opened(1, n, stream, start_us, start_us + 1, names, names, coverage, ()),
                outputs, failed)
        for n, (stream, start_us, names, coverage, outputs, failed, _) in enumerate(told)
    ]  # fmt: skip
    fused = [each for *_, each in told]
    records = writer.write(whole, fused)
    alone = [writer.write([window], [each]) for window, each in zip(whole, fused, strict=True)]
    assert [[record] for record in records] == alone
    for record, window, each in zip(records, told, fused, strict=True):
        vector = "" if each.vector is None else orjson.dumps(each.vector.tolist()).decode()
        # digits are orjson's, which test_fusion_result compares with Python's
        expected = plainly("@vector", f"lobby@sha256:{spec.model_hash()}", window)
        assert record.value == expected.replace(
            b'"vector":"@vector"', f'"vector":{vector}'.encode()
        )
        assert record.key == window[0].encode()
        assert dict(record.headers)["ce_id"] == f"{window[0]}/{window[1]}".encode()


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
