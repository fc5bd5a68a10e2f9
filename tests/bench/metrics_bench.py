"""What metrics cost: the CPU time of all that counts, as a share of the CPU time of a run.

``python tests/bench/metrics_bench.py [--windows N]`` notes how often each place that counts is
called in a run of windows as small as they can be, and with what; then it times each by itself,
the quickest of several times, so that a machine that is busy with other things spoils little.
"""

from __future__ import annotations

import argparse
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from pipelines import LOBBY, SECOND_US, broker_for, connector_for, load, sent
from states import recent

from pipeline.local import run_local
from pipeline.monitor.state import StateWriter
from pipeline.tasks.fusion_runner import FusionRunner
from pipeline.tasks.host import RunControl
from pipeline.tasks.ingest_view import IngestFigures

PLACES: tuple[tuple[type, str], ...] = (
    *((IngestFigures, name) for name in
      ("read", "applied", "queued", "ran", "moved", "settled", "view")),
    (FusionRunner, "_figures"),
)  # fmt: skip
Calls = dict[str, tuple[int, Callable[[], Any]]]  # how often, and the last of them once more
SPEC = load({**LOBBY, "limits": {"in_flight_bytes": "64MiB"}})


@contextmanager
def noted(calls: Calls) -> Iterator[None]:
    kept = [(kind, name, getattr(kind, name)) for kind, name in PLACES]
    for kind, name, method in kept:

        def wrapped(*args: Any, _name: str = name, _method: Any = method) -> Any:
            calls[_name] = calls.get(_name, (0, None))[0] + 1, lambda: _method(*args)
            return _method(*args)

        setattr(kind, name, wrapped)
    try:
        yield
    finally:
        for kind, name, method in kept:
            setattr(kind, name, method)


def cpu_s(windows: int) -> float:
    broker = broker_for(SPEC)
    for number in range(windows):
        broker.append(sent("in.mic", bytes(1_600), number * SECOND_US, stream=f"s{number % 50}"))
        broker.append(sent("in.chat", b"good day", number * SECOND_US, stream=f"s{number % 50}"))
    began_s = time.process_time()
    totals, _ = run_local(SPEC, connector_for(broker), RunControl(until_end=True))
    assert totals.windows == windows
    return time.process_time() - began_s


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--windows", type=int, default=10_000)
    asked = given.parse_args()
    cpu_s(1_000)  # imports, filter banks
    whole_us = 1e6 * min(cpu_s(asked.windows) for _ in range(3)) / asked.windows
    calls: Calls = {}
    with noted(calls):
        cpu_s(asked.windows)
    counting_us = 0.0
    for name, (count, again) in calls.items():
        times = 1_000 if name in ("view", "_figures") else 20_000
        each_us = 1e6 * min(timeit.repeat(again, number=times, repeat=7)) / times
        counting_us += count * each_us / asked.windows
        print(f"{name:10} {count / asked.windows:8.4f} calls a window, {each_us:7.2f} us each")
    share = counting_us / whole_us
    print(
        f"a window costs {whole_us:.0f} us of CPU; of it counting {counting_us:.2f} us, {share:.2%}"
    )
    writer, seen = StateWriter(SPEC), recent()
    state_s = min(timeit.repeat(lambda: writer.state(seen, ["s"]), number=50, repeat=7)) / 50
    print(f"/api/state: {1e3 * state_s:.2f} ms of CPU each")


if __name__ == "__main__":
    main()
