"""The value of a result record: JSON bytes, the same for the same window (contract section 4)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np
import orjson

from pipeline.fusion.linear import Fused
from pipeline.fusion.products import Rows

# Floats are Python's repr: the shortest digits that give the same float64 back. NaN has no JSON
# and raises. Inner maps are sorted at every depth, so equal data is equal bytes.
_ENCODE = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"), check_circular=False
).encode
_quoted = json.encoder.encode_basestring


def result_json(
    *,
    stream: str,
    start_us: int,
    end_us: int,
    present: tuple[str, ...],
    missing: tuple[str, ...],
    coverage: Mapping[str, float],
    fused: Fused,
    text: Mapping[str, str],
    data: Mapping[str, Any],
    failed: Mapping[str, str],
    model: str,
    rev: int = 0,
) -> bytes:
    """UTF-8 JSON without spaces, keys in the contract's order, inner maps and names sorted.

    ``coverage`` by audio input, ``text``, ``data`` and ``failed`` by stage. Raises ValueError for
    NaN or infinity, which no checked output holds.
    """
    return (
        f'{{"stream":{_quoted(stream)},"window":{{"start_us":{start_us},"end_us":{end_us}}},'
        f'"rev":{rev},"present":{_names(present)},"missing":{_names(missing)},'
        f'"coverage":{_shares(coverage)},"output":{_output(fused)},'
        f'"weights":{_shares(fused.weights)},"attribution":{_shares(fused.attribution)},'
        f'"text":{_map(text) if text else "{}"},"data":{_map(data) if data else "{}"},'
        f'"failed":{_map(failed) if failed else "{}"},'
        f'"model":{_quoted(model)}}}'
    ).encode()


@lru_cache(maxsize=1024)
def _names(names: tuple[str, ...]) -> str:
    return f"[{','.join(map(_quoted, sorted(names)))}]"


def _map(values: Mapping[str, Any]) -> str:
    return _ENCODE(dict(values))


def _shares(values: Mapping[str, float]) -> str:
    """A map of floats by name; the same bytes as ``_map``, in a quarter of the time."""
    items = values.items() if len(values) == 1 else sorted(values.items())
    pairs = [
        f"{_quoted(name)}:{repr(x) if type(x) is float and isfinite(x) else _ENCODE(x)}"
        for name, x in items
    ]
    return f"{{{','.join(pairs)}}}"


def _output(fused: Fused) -> str:
    if fused.scores is not None:
        return f'{{"label":{_ENCODE(fused.label)},"scores":{_shares(fused.scores)}}}'
    vector = "null" if fused.vector is None else _numbers(fused.vector)
    return f'{{"vector":{vector}}}'


def _numbers(vector: Rows) -> str:
    """orjson writes the same shortest digits as Python's repr, ten times faster."""
    numbers = np.ascontiguousarray(vector, np.float64)
    written = orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY).decode("ascii")
    if "null" in written:  # what orjson makes of NaN and infinity
        raise ValueError("a fused vector that is not finite has no JSON")
    return written
