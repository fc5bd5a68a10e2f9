"""Two answers about the same windows, compared field by field (``motet replay --diff``)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

# Networks give the same within this on every full read (contract section 3, Order).
TOLERANCE = 1e-5
FIELDS = (
    "present", "missing", "coverage", "output", "weights", "attribution", "text", "data", "failed",
)  # fmt: skip

Value = dict[str, Any]


class Changed(NamedTuple):
    """A window whose answer differs; by path such as ``output.label``, before and after."""

    result_id: str
    fields: dict[str, tuple[Any, Any]]


def changed_fields(before: Value, after: Value) -> dict[str, tuple[Any, Any]]:
    """What differs by more than TOLERANCE; ``model`` and ``rev`` say who answered, not what."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in FIELDS:
        found.update(_differing(name, before.get(name), after.get(name)))
    return found


def _differing(path: str, before: Any, after: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            yield from _differing(f"{path}.{key}", before.get(key), after.get(key))
    elif not _equal(before, after):
        yield path, (before, after)


def _equal(before: Any, after: Any) -> bool:
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(_equal, before, after))
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return before.keys() == after.keys() and all(_equal(before[k], after[k]) for k in before)
    if _number(before) and _number(after):
        return math.isclose(before, after, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(before == after)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Comparison:
    """Collects the answers of two runs and tells, in order of the windows, what differs."""

    def __init__(self) -> None:
        self._before: dict[str, Value] = {}
        self._after: dict[str, Value] = {}

    def before(self, value: Value) -> None:
        """Of several answers about a window the last counts."""
        self._before[id_of(value)] = value

    def after(self, value: Value) -> None:
        self._after[id_of(value)] = value

    @property
    def windows(self) -> int:
        return len(self._after)

    def only_before(self) -> list[str]:
        return _ordered(self._before, self._after)

    def only_after(self) -> list[str]:
        return _ordered(self._after, self._before)

    def changed(self) -> list[Changed]:
        both = {key: value for key, value in self._before.items() if key in self._after}
        found = []
        for result_id in _ordered(both, {}):
            fields = changed_fields(both[result_id], self._after[result_id])
            if fields:
                found.append(Changed(result_id, fields))
        return found


def id_of(value: Value) -> str:
    return f"{value['stream']}/{value['window']['start_us']}"


def _ordered(values: Mapping[str, Value], without: Mapping[str, Value]) -> list[str]:
    """Ids by time, then by stream."""
    left = [
        (v["window"]["start_us"], v["stream"], i) for i, v in values.items() if i not in without
    ]
    return [result_id for _, _, result_id in sorted(left)]
