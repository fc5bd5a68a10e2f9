"""Where a window's time goes in one process: the CPU time of each thread of a local run, by name.

The standard job (one-second records, 32 streams, 4 partitions, log-mel) on the embedded Kafka,
hosted in this very process, so that Python's names of the threads are known. Looked at from the
moment that all of it runs until its end; what is left of two cores is what
threads wait for (each other, the interpreter, the broker).

    python tests/bench/local_threads.py --windows 48000
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from pipeline.benchmark.checking import ResultCheck
from pipeline.benchmark.ground import Filled, Ground, filled, run_name
from pipeline.benchmark.jobs import JOBS
from pipeline.benchmark.processes import cpu_of
from pipeline.benchmark.topics import output_topics, read_committed
from pipeline.broker import server
from pipeline.connectors.kafka import KafkaConnector
from pipeline.local import run_local
from pipeline.tasks.host import RunControl

_TICKS = os.sysconf("SC_CLK_TCK")
_LOOK_S = 0.25


def cpu_by_thread() -> Counter[str]:
    """Seconds so far, threads of one name together; those of libraries have none."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    found: Counter[str] = Counter()
    for task in Path("/proc/self/task").iterdir():
        try:
            fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended
            continue
        name = names.get(int(task.name), "(no thread of Python's)")
        found[_kind(name)] += (int(fields[11]) + int(fields[12])) / _TICKS
    return found


def _kind(name: str) -> str:
    for mark, kind in (("commit-", "commits"), ("producer", "producers"), ("kafka-io", "fetches")):
        if mark in name:
            return kind
    return name


class Watch(threading.Thread):
    """Looks at the threads while the run is under way."""

    def __init__(self, control: RunControl, broker_pid: int) -> None:
        super().__init__(name="watch", daemon=True)
        self._control, self._broker_pid = control, broker_pid
        self.looks: list[tuple[float, float, Counter[str]]] = []  # moment, broker's CPU, ours
        self.over = threading.Event()

    def run(self) -> None:
        self._control.ready.wait()
        while not self.over.wait(_LOOK_S):
            self.looks.append((time.monotonic(), cpu_of(self._broker_pid), cpu_by_thread()))


def show(watch: Watch, windows: int, seconds: float) -> None:
    """By window: wall time, and the CPU time of each thread between two looks amid the run."""
    (from_s, broker_before, before), (to_s, broker_after, _) = watch.looks[0], watch.looks[-1]
    share = (to_s - from_s) / seconds * windows  # windows between the two
    names = {name for _, _, found in watch.looks for name in found}
    # the most, not the last: ingest ends before the others, and is not there any more by then
    most = {name: max(found[name] for _, _, found in watch.looks) for name in names}
    spent = {name: cpu_s - before[name] for name, cpu_s in most.items()}
    spent["broker"] = broker_after - broker_before
    each_us = seconds / windows * 1e6
    print(f"{windows} windows, {windows / seconds:.0f} a second, one in {each_us:.0f} us")
    for name, cpu_s in sorted(spent.items(), key=lambda each: -each[1]):
        if cpu_s / share > 1e-6:
            print(f"{name:28s}{cpu_s / share * 1e6:8.0f} us")
    busy = sum(spent.values()) / (to_s - from_s) / (os.cpu_count() or 1)
    print(f"all cores together are busy for {busy:.0%} of the time")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--windows", type=int, default=48_000)
    windows: int = parser.parse_args().windows
    with tempfile.TemporaryDirectory() as place:
        broker = server.start(port=0, data_dir=Path(place) / "kafka")
        try:
            connector = KafkaConnector(broker.bootstrap)
            ground = Ground((), broker.bootstrap, connector, broker.pid, print)
            with filled(ground, JOBS["audio"], windows) as backlog, run_name(ground) as name:
                control = RunControl(until_end=True)
                watch = Watch(control, broker.pid)
                watch.start()
                spec = backlog.order(ground, name, local=True).spec
                totals, seconds = run_local(spec, connector, control)
                watch.over.set()
                watch.join()
                demand_results(connector, backlog, name)
        finally:
            server.stop(Path(place) / "kafka")
    show(watch, totals.windows, seconds)


def demand_results(connector: KafkaConnector, backlog: Filled, name: str) -> None:
    """Each window once and right, so that what was measured did the work."""
    check = ResultCheck(backlog.job, backlog.begin_us, backlog.windows)
    for record in read_committed(connector, output_topics(name)[0], backlog.windows):
        check.take(record.value or b"{}")
    check.demand("the run")


if __name__ == "__main__":
    main()
