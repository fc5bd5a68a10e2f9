"""The bytes of a result (contract section 4)."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.fusion.result import output_json, result_json, shares_json
from pipeline.fusion.rules import Fused

KEYS = ["stream", "window", "rev", "present", "missing", "coverage", "output", "weights",
        "attribution", "text", "data", "failed", "model"]  # fmt: skip

FUSED = Fused(np.array([0.1]), {"sound": 0.43, "colour": 0.57}, {"sound": 0.4, "colour": 0.6})


def result(**more) -> bytes:
    fused = more.pop("fused", FUSED)
    given = {
        "stream": "cam-7", "start_us": 0, "end_us": 1_000_000, "present": ("mic", "camera"),
        "missing": ("chat",), "coverage": {"mic": 1.0},
        "output": output_json(fused), "weights": shares_json(fused.weights),
        "attribution": shares_json(fused.attribution),
        "text": {}, "data": {}, "failed": {}, "model": "lobby@sha256:ab",
    }  # fmt: skip
    return result_json(**{**given, **more})


def test_the_contracts_example():
    assert result() == (
        b'{"stream":"cam-7","window":{"start_us":0,"end_us":1000000},"rev":0,'
        b'"present":["camera","mic"],"missing":["chat"],"coverage":{"mic":1.0},'
        b'"output":{"vector":[0.1]},"weights":{"colour":0.57,"sound":0.43},'
        b'"attribution":{"colour":0.6,"sound":0.4},"text":{},"data":{},"failed":{},'
        b'"model":"lobby@sha256:ab"}'
    )


def test_keys_in_the_contracts_order():
    assert list(json.loads(result())) == KEYS
    assert list(json.loads(result())["window"]) == ["start_us", "end_us"]


def test_no_vector_is_null():
    value = json.loads(result(fused=Fused(None)))
    assert value["output"] == {"vector": None}
    assert value["weights"] == value["attribution"] == {}


def test_a_head_gives_a_label_and_scores_in_place_of_the_vector():
    fused = Fused(None, {"b": 1.0}, {"b": -2.5}, label="no", scores={"yes": 0.25, "no": 0.75})
    assert b'"output":{"label":"no","scores":{"no":0.75,"yes":0.25}},"weights"' in result(
        fused=fused
    )
    unsure = Fused(None, {}, {}, label=None, scores={"yes": 0.5, "no": 0.5})
    assert json.loads(result(fused=unsure))["output"]["label"] is None
    nothing = json.loads(result(fused=Fused(None, scores={})))
    assert nothing["output"] == {"label": None, "scores": {}}


def test_inner_maps_are_sorted_at_every_depth():
    data = {"z": {"b": [{"y": 1, "x": 2}], "a": None}, "f": {}}
    text = result(data=data, failed={"b": "timeout", "a": "x"}, text={"w": "z", "v": "y"}).decode()
    assert '"data":{"f":{},"z":{"a":null,"b":[{"x":2,"y":1}]}}' in text
    assert '"failed":{"a":"x","b":"timeout"}' in text
    assert '"text":{"v":"y","w":"z"}' in text


def test_text_stays_text():
    value = result(stream='Größe "7"\n', text={"words": "日本\u2028\x00"})
    assert 'Größe \\"7\\"\\n'.encode() in value
    assert json.loads(value)["text"] == {"words": "日本\u2028\x00"}


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_floats_are_the_shortest_that_come_back(numbers):
    value = result(fused=Fused(np.array(numbers, np.float64)))
    back = json.loads(value)["output"]["vector"]
    assert np.array(back, np.float64).tobytes() == np.array(numbers, np.float64).tobytes()
    listed = value.partition(b'"vector":[')[2].partition(b"]")[0].decode()
    # the digits of repr, though an exponent may be written otherwise (0.00001, 1e-05)
    assert [Decimal(each) for each in listed.split(",") if each] == [
        Decimal(repr(number)) for number in numbers
    ]


maps_of = partial(st.dictionaries, st.text(), max_size=4)
floats = st.floats(allow_nan=False, allow_infinity=False)


@given(st.text(), st.sets(st.text()), maps_of(floats | st.integers()), maps_of(st.text()))
def test_the_bytes_are_those_of_pythons_own_json(name, names, shares, texts):
    fused = Fused(None, shares, shares, label=name, scores=shares)
    value = result(stream=name, present=tuple(names), missing=tuple(names), coverage=shares,
                   fused=fused, text=texts, data=texts, failed=texts, model=name)  # fmt: skip
    given, sorted_names = dict(sorted(shares.items())), sorted(names)
    told = dict(sorted(texts.items()))
    expected = {
        "stream": name, "window": {"start_us": 0, "end_us": 1_000_000}, "rev": 0,
        "present": sorted_names, "missing": sorted_names, "coverage": given,
        "output": {"label": name, "scores": given}, "weights": given, "attribution": given,
        "text": told, "data": told, "failed": told, "model": name,
    }  # fmt: skip
    assert value == json.dumps(expected, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_has_no_json(value: float):
    with pytest.raises(ValueError, match="not finite"):
        result(fused=Fused(np.array([value])))
    with pytest.raises(ValueError, match="not JSON compliant"):
        result(coverage={"mic": value})
