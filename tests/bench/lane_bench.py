"""Records a second that one core takes through a lane: ``python tests/bench/lane_bench.py``.

Live time in steps of one record a second and stream; streams take turns, inputs as well. The
first tenth of a run fills the lane and is not measured; garbage collection stays on, as in a
real process. Times are of ``Lane.apply`` alone unless the row says merge.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.lane import InputRule, Lane, LaneCut, LaneRecord, LaneSpec, Merge

S = 1_000_000
INPUTS = (
    InputRule("mic", True, 200_000),
    InputRule("camera", True, 200_000),
    InputRule("chat", False, 0),
)


@dataclass(frozen=True)
class Case:
    name: str
    streams: int = 100
    size_us: int = S
    hop_us: int = S
    before_us: int = 0
    idle_us: int = 5 * S
    every_us: int = S // 10  # between two records of a stream in an input
    camera: bool = True
    shuffled_us: int = 0  # how far records run out of order
    merge: bool = False

    def spec(self) -> LaneSpec:
        return LaneSpec(INPUTS, self.size_us, self.hop_us, self.idle_us, self.before_us)


CASES = (
    Case("100 streams, 1 s windows"),
    Case("through the merge as well", merge=True),
    Case("out of order by 200 ms", shuffled_us=200_000),
    Case("context of 4 s before", before_us=4 * S),
    Case("hop 250 ms (4 windows a record)", hop_us=S // 4),
    Case("hop 10 ms (110 windows a record)", hop_us=S // 100),
    Case("10,000 streams", streams=10_000, every_us=S),
    Case("many open: camera silent, A = 10 min", camera=False, idle_us=600 * S, every_us=S),
    Case("many open, hop 250 ms", camera=False, idle_us=600 * S, every_us=S, hop_us=S // 4),
)


def records(case: Case, count: int) -> Iterator[LaneRecord]:
    rng = random.Random(1)
    names = [rule.name for rule in INPUTS if case.camera or rule.name != "camera"]
    offsets = dict.fromkeys(names, 0)
    step = 0
    while True:
        for stream in range(case.streams):
            at_us = step * case.every_us + stream * case.every_us // case.streams
            for name in names:
                ts_us = at_us - (rng.randrange(case.shuffled_us) if case.shuffled_us else 0)
                end_us = ts_us + case.every_us
                yield LaneRecord(
                    name, offsets[name], at_us + case.every_us, f"s{stream}", ts_us, end_us, 1000
                )
                offsets[name] += 1
                count -= 1
                if not count:
                    return
        step += 1


def measure(case: Case, count: int) -> tuple[float, float, int, int]:
    """Records and windows a second; open windows and kept records (by bytes) at the end."""
    zeros = {rule.name: 0 for rule in INPUTS}
    lane = Lane(case.spec(), LaneCut(0, zeros, dict(zeros)))
    all_records = list(records(case, count))
    warm = count // 10
    for record in all_records[:warm]:
        lane.apply(record)
    windows = 0
    if case.merge:
        seconds, windows = merged(case, lane, all_records[warm:])
    else:
        start = time.perf_counter()
        for record in all_records[warm:]:
            windows += len(lane.apply(record).closed)
        seconds = time.perf_counter() - start
    lane.cut()
    return (count - warm) / seconds, windows / seconds, lane.open_windows, lane.kept_bytes // 1000


def merged(case: Case, lane: Lane, rest: list[LaneRecord]) -> tuple[float, int]:
    merge = Merge(case.spec(), lane.positions, fresh_us=None)
    by_input = {rule.name: [r for r in rest if r.input == rule.name] for rule in INPUTS}
    windows = 0
    start = time.perf_counter()
    for name, mine in by_input.items():
        end = mine[-1].offset + 1
        merge.ends(name, end, 0)
        merge.add(name, mine, end)
    while isinstance(record := merge.next(0), LaneRecord):
        windows += len(lane.apply(record).closed)
    return time.perf_counter() - start, windows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=200_000)
    count = parser.parse_args().records
    print(f"{'case':<40}{'records/s':>12}{'us/record':>11}{'windows/s':>11}{'open':>9}{'kept':>9}")
    for case in CASES:
        rate, windows, opened, kept = measure(case, count)
        print(
            f"{case.name:<40}{rate:>12,.0f}{1e6 / rate:>11.2f}{windows:>11,.0f}"
            f"{opened:>9,}{kept:>9,}"
        )


if __name__ == "__main__":
    main()
