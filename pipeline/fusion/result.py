"""The value of a result record: JSON bytes, the same for the same window (contract section 4)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
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


def result_json(
    *,
    stream: str,
    start_us: int,
    end_us: int,
    present: Iterable[str],
    missing: Iterable[str],
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
    parts = (
        ("stream", stream),
        ("window", _Raw(f'{{"start_us":{start_us},"end_us":{end_us}}}')),
        ("rev", rev),
        ("present", sorted(present)),
        ("missing", sorted(missing)),
        ("coverage", dict(coverage)),
        ("output", _output(fused)),
        ("weights", fused.weights),
        ("attribution", fused.attribution),
        ("text", dict(text)),
        ("data", dict(data)),
        ("failed", dict(failed)),
        ("model", model),
    )
    body = ",".join(
        f'"{key}":{value if isinstance(value, _Raw) else _ENCODE(value)}' for key, value in parts
    )
    return f"{{{body}}}".encode()


class _Raw(str):
    """JSON already."""


def _output(fused: Fused) -> Any:
    if fused.scores is not None:
        return {"label": fused.label, "scores": fused.scores}
    vector = "null" if fused.vector is None else _numbers(fused.vector)
    return _Raw(f'{{"vector":{vector}}}')


def _numbers(vector: Rows) -> str:
    """orjson writes the same shortest digits as Python's repr, ten times faster."""
    numbers = np.ascontiguousarray(vector, np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("a fused vector that is not finite has no JSON")
    return orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY).decode("ascii")
