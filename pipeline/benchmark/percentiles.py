"""Latencies as they are: all of them kept, percentiles exact."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999}


class Taken(NamedTuple):
    """Of a window: when the send that completes it was due, and how long it took from then (us)."""

    due_us: int
    latency_us: int


class Latencies:
    """Every latency of a measurement, by the time at which its send was due.

    Invariant: nothing is left out and nothing is put into classes; 16 bytes a window.
    """

    def __init__(self) -> None:
        self._due_us = array("q")
        self._latency_us = array("q")

    def __len__(self) -> int:
        return len(self._due_us)

    def __iter__(self) -> Iterator[Taken]:
        return map(Taken, self._due_us, self._latency_us)

    def add(self, due_us: int, seen_us: int) -> None:
        self._due_us.append(due_us)
        self._latency_us.append(seen_us - due_us)

    def since(self, from_us: int, to_us: int | None = None) -> list[int]:
        """Those of sends that were due from ``from_us`` on, and before ``to_us``, sorted (us)."""
        return sorted(
            latency_us
            for due_us, latency_us in zip(self._due_us, self._latency_us, strict=True)
            if due_us >= from_us and (to_us is None or due_us < to_us)
        )

    def by_second(self, from_us: int) -> list[dict[str, float]]:
        """For each second from ``from_us`` on, by when sends were due: count, p50 and max (s)."""
        seconds: dict[int, list[int]] = {}
        for due_us, latency_us in self:
            if due_us >= from_us:
                seconds.setdefault((due_us - from_us) // 1_000_000, []).append(latency_us)
        return [
            {
                "second": second,
                "windows": len(found),
                "p50": at_share(sorted(found), 0.5) / 1e6,
                "max": max(found) / 1e6,
            }
            for second, found in sorted(seconds.items())
        ]


def at_share(ordered: Sequence[int], share: float) -> int:
    """By nearest rank: the smallest that at least ``share`` of all do not exceed."""
    rank = -int(-share * len(ordered) // 1)
    return ordered[max(rank, 1) - 1]


def summary(ordered: Sequence[int]) -> dict[str, float | int | None]:
    """Seconds, of sorted microseconds. A percentile that fewer than ten windows lie above is None:

    it would be chance.
    """
    found: dict[str, float | int | None] = {"windows": len(ordered)}
    for name, share in SHARES.items():
        enough = len(ordered) * (1 - share) >= 10 - 1e-9
        found[name] = at_share(ordered, share) / 1e6 if enough else None
    found["mean"] = sum(ordered) / len(ordered) / 1e6 if ordered else None
    found["max"] = ordered[-1] / 1e6 if ordered else None
    return found


def median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
