"""The newest windows of a run, and which of them to show to who labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson

from pipeline.teaching.choosing import Floats, farthest_first, least_sure, margin

WINDOWS_MAX = 2_000
KNOWN_MAX = 512  # labelled points that the next ones shall be far from
POINT_MAX = 64  # numbers of a point: longer vectors are projected, which keeps distances
TEXT_SHOWN = 300


class Key(NamedTuple):
    """A window of a stream, ``[start_us, end_us)``."""

    stream: str
    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A result, as far as it is shown and chosen by.

    ``margin``: of a head's scores, None without a head. ``point``: its fused vector, with at most
    POINT_MAX numbers, None where it has none.
    """

    key: Key
    model: str
    margin: float | None
    point: Floats | None
    told: dict[str, Any]


class Pool:
    """The newest windows that came; of a window that comes again the newer result.

    Invariant: at most WINDOWS_MAX are kept. What is offered is in the pool, has something that
    a head could learn from (scores or a vector), and is not done.
    """

    def __init__(self, most: int = WINDOWS_MAX) -> None:
        self._most = most
        self._seen: dict[Key, Seen] = {}
        self._known: dict[Key, Floats] = {}
        self._model = ""

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, seen: Seen) -> None:
        self._seen.pop(seen.key, None)
        self._seen[seen.key] = seen
        self._model = seen.model
        while len(self._seen) > self._most:
            del self._seen[next(iter(self._seen))]

    def find(self, key: Key) -> Seen | None:
        return self._seen.get(key)

    def labelled(self, key: Key, label: str | None) -> None:
        """Windows like this one need not be asked about; None: they may be again."""
        seen = self._seen.get(key)
        self._known.pop(key, None)
        if label is not None and seen is not None and seen.point is not None:
            self._known[key] = seen.point
            while len(self._known) > KNOWN_MAX:
                del self._known[next(iter(self._known))]

    def offer(self, count: int, stream: str | None, done: Callable[[Key], bool]) -> list[Seen]:
        """The next windows to label, at most ``count``; of one stream, or of all.

        Where the newest results have scores: of those, the ones whose two likeliest labels are
        the closest to each other. Otherwise windows that are spread over streams and vectors.
        """
        newest = [
            seen
            for seen in reversed(self._seen.values())
            if stream in (None, seen.key.stream) and not done(seen.key)
        ]
        scored = [s for s in newest if s.margin is not None and s.model == self._model]
        if scored:
            return [scored[at] for at in least_sure([s.margin or 0.0 for s in scored], count)]
        return self._spread([s for s in newest if s.point is not None], count)

    def _spread(self, found: list[Seen], count: int) -> list[Seen]:
        points = [seen.point for seen in found if seen.point is not None]
        if not points:
            return []
        known = [p for p in self._known.values() if p.shape == points[0].shape]
        same = [at for at, point in enumerate(points) if point.shape == points[0].shape]
        asked = Counter(key.stream for key in self._known)
        places = farthest_first(
            np.stack([points[at] for at in same]),
            [found[at].key.stream for at in same],
            np.stack(known) if known else np.empty((0, *points[0].shape), np.float32),
            asked,
            count,
        )
        return [found[same[at]] for at in places]


class Projector:
    """Brings vectors to POINT_MAX numbers at most, by a fixed matrix for each length."""

    def __init__(self) -> None:
        self._matrix = np.empty((0, 0), np.float32)

    def point(self, vector: list[float]) -> Floats:
        found = np.asarray(vector, np.float32)
        if len(found) <= POINT_MAX:
            return found
        if self._matrix.shape[1] != len(found):
            drawn = np.random.default_rng(0).standard_normal((POINT_MAX, len(found)), np.float32)
            self._matrix = drawn / np.float32(POINT_MAX**0.5)
        return self._matrix @ found


def seen_of(value: bytes | None, projector: Projector) -> Seen | None:
    """A result as it stands in its topic; None where a record is none."""
    try:
        result = orjson.loads(value or b"")
        window, output = result["window"], result["output"]
        key = Key(str(result["stream"]), int(window["start_us"]), int(window["end_us"]))
        scores, vector = output.get("scores"), output.get("vector")
        told = {
            "present": [str(name) for name in result.get("present", [])],
            "coverage": dict(result.get("coverage", {})),
            "text": {
                str(stage): str(text)[:TEXT_SHOWN] for stage, text in result.get("text", {}).items()
            },
            "guess": output.get("label"),
        }
        return Seen(
            key,
            str(result.get("model", "")),
            margin(scores) if scores else None,
            projector.point(vector) if vector else None,
            told,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
