"""t(B): how long a batch of B items takes, measured against one item at a time in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from pipeline import clock
from pipeline.batching.pace import BatchPace
from pipeline.costs.timing import took_us

Item = TypeVar("Item")
_ROUNDS_MAX = 9
_WARM_AND_TIMED = 2  # runs of a batch in the round in which it comes first


@dataclass(frozen=True, slots=True)
class Curve:
    """Medians in microseconds. ``times_us``: by size of the batch, from 1 on, what it takes.

    ``loop_us``: what one item takes in a plain loop over as many items as the largest batch has,
    one call each. ``complete``: the largest size is the one that was asked for, not where the
    time was up.
    """

    times_us: dict[int, float]
    loop_us: float
    rounds: int
    complete: bool

    @property
    def best(self) -> int:
        """The size with the most items a second."""
        return min(self.times_us, key=self.item_us)

    def item_us(self, size: int) -> float:
        return self.times_us[size] / size

    def speedup(self, size: int) -> float:
        """How many times the plain loop's items a second."""
        return self.loop_us / self.item_us(size)

    def chosen(self, target_us: int | None) -> int:
        """The batch at which ``BatchPace`` settles where batches take what was measured here.

        Without a target that is the largest.
        """
        largest = max(self.times_us)
        pace = BatchPace(largest, target_us)
        limit = 0
        while pace.limit != limit:
            limit = pace.limit
            pace.observe(limit, round(self.times_us[limit]))
        return limit


def sizes(batch_max: int) -> list[int]:
    """1, 2, 4, ... and ``batch_max`` itself."""
    powers = [1 << rung for rung in range(batch_max.bit_length())]
    return powers if powers[-1] == batch_max else [*powers, batch_max]


def measured_curve(
    run: Callable[[Sequence[Item]], object],
    items: Sequence[Item],
    device: torch.device,
    time_us: int,
) -> Curve:
    """Sizes up to ``len(items)``; about ``time_us`` in all, warming up included.

    Every size runs once before it is timed. Where the next size would take more time than is left,
    no larger one is tried (1 always is); what is left goes into rounds, in each of which every
    size and the plain loop are timed once, in turn.
    """
    until_us = clock.monotonic_us() + time_us
    wanted = sizes(len(items))
    taken: dict[int, list[float]] = {}
    last_us = 0.0
    for size in wanted:
        if 2 * _WARM_AND_TIMED * last_us > until_us - clock.monotonic_us():
            break
        some = items[:size]
        run(some)
        last_us = took_us(partial(run, some), device)
        taken[size] = [last_us]
    largest = max(taken)
    loops = [_loop_us(run, items[:largest], device)]
    round_us = sum(times[0] for times in taken.values()) + loops[0] * largest
    rounds = 1
    while rounds < _ROUNDS_MAX and clock.monotonic_us() + round_us < until_us:
        for size, times in taken.items():
            first = rounds * size % (largest - size + 1)  # other items, where there are others
            times.append(took_us(partial(run, items[first : first + size]), device))
        loops.append(_loop_us(run, items[:largest], device))
        rounds += 1
    medians = {size: statistics.median(times) for size, times in taken.items()}
    return Curve(medians, statistics.median(loops), rounds, largest == wanted[-1])


def _loop_us(
    run: Callable[[Sequence[Item]], object], items: Sequence[Item], device: torch.device
) -> float:
    def loop() -> None:
        for item in items:
            run([item])

    return took_us(loop, device) / len(items)
