"""Latency at a fixed rate, side by side: the standard job, one result a window, exactly once.

Records are sent when they are due, whatever came of those before (no coordinated omission), and a
window counts from when the record that closes it was due to when its result was read, committed.
Which record that is each system says itself: the plain loop has no windows and answers each
record; motet closes a window with the stream's next record, Quix Streams, which knows the begin
of a record and not its end, with the one after. Commit interval: 250 ms everywhere.

    make bench-latency                     # or: python tests/bench/latency_peers.py --rate 400
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from throughput import LANES, MOTET, RATE, STREAMS, environment, motet_command, peer_command

from pipeline.benchmark.percentiles import Latencies, summary
from pipeline.benchmark.schedule import Schedule, send_on_schedule
from pipeline.broker import server
from pipeline.clock import monotonic_us, wall_us
from pipeline.connectors.kafka import KafkaConnector
from pipeline.slot.ports import OutRecord, TopicPartition
from pipeline.tasks.results import rfc3339

# How many records of its stream a window's own is behind the one that closes it.
CLOSED_BY = {"plain": 0, "quix": 2, "local": 1, "ray": 1}
FIRST_SECONDS = 4  # of each stream are sent at once: the first results say that a side is ready
READY_S, QUIET_S, AHEAD_US = 120.0, 30.0, 500_000


class Load:
    """Record ``n`` is second ``n // STREAMS`` of stream ``n % STREAMS``."""

    def __init__(self, topic: str, rate: float, seconds: float) -> None:
        rng = np.random.default_rng(0)
        self.topic = topic
        self.rate = rate
        self.first = FIRST_SECONDS * STREAMS
        self.records = self.first + max(1, round(rate * seconds / STREAMS)) * STREAMS
        self.begin_us = wall_us() // 1_000_000 * 1_000_000 - 86_400_000_000
        self._sounds = [rng.integers(-9000, 9000, RATE).astype(">i2").tobytes() for _ in range(64)]

    def record(self, number: int) -> OutRecord:
        second, stream = divmod(number, STREAMS)
        return OutRecord(
            self.topic,
            stream % LANES,
            f"stream-{stream}".encode(),
            self._sounds[number % len(self._sounds)],
            (("ce_time", rfc3339(self.begin_us + second * 1_000_000)),),
        )


class Results:
    """The committed results of a side, as they come.

    Invariant: ``seen_us`` has of each record's window when its result was read first; the nth
    result of a stream is of its nth second, as all sides keep the order of a stream.
    """

    def __init__(self, connector: KafkaConnector, topic: str) -> None:
        self.seen_us: dict[int, int] = {}
        self._counts = [0] * STREAMS
        self._source = connector.source()
        self._source.assign({TopicPartition(topic, lane): 0 for lane in range(LANES)})

    def read(self) -> None:
        fetches = self._source.poll(0.02)
        now_us = monotonic_us()
        for record in (record for fetch in fetches for record in fetch.records):
            stream = int(json.loads(record.value)["stream"].removeprefix("stream-"))
            self.seen_us[self._counts[stream] * STREAMS + stream] = now_us
            self._counts[stream] += 1

    def until(self, count: int, process: subprocess.Popen[bytes], quiet_s: float) -> None:
        """RuntimeError where the process ends before, or nothing comes for so long."""
        newest_us = monotonic_us()
        while len(self.seen_us) < count:
            before = len(self.seen_us)
            self.read()
            if len(self.seen_us) > before:
                newest_us = monotonic_us()
            elif monotonic_us() - newest_us > quiet_s * 1e6 or process.poll() not in (None, 0):
                raise RuntimeError(f"{len(self.seen_us)} results of {count}, and no more come")

    def close(self) -> None:
        self._source.close()


@contextmanager
def started(command: list[str], topic: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, env={**environment(), "BENCH_INPUT": topic}
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def measure_side(
    connector: KafkaConnector, side: str, name: str, given: argparse.Namespace, folder: Path
) -> Latencies:
    topic = f"{name}.audio"
    with closing(connector.control()) as control:
        for each in (topic, *(f"{name}.{kind}" for kind in ("results", "late", "dead"))):
            control.create_topic(each, LANES, 1, {})
    load = Load(topic, given.rate, given.warm + given.seconds)
    behind = CLOSED_BY[side.removesuffix("-torch")] * STREAMS
    if side in MOTET:
        command = motet_command(connector.bootstrap, name, folder, topic, *MOTET[side])
    else:
        command = peer_command(connector.bootstrap, name, side, load.records)
    with (
        closing(connector.publisher()) as publisher,
        closing(Results(connector, f"{name}.results")) as results,
        started(command, topic) as process,
    ):
        for number in range(load.first):
            publisher.send(load.record(number))
        publisher.flush()
        results.until(load.first - behind, process, READY_S)
        schedule = Schedule(monotonic_us() + AHEAD_US, load.rate)
        sending = threading.Thread(
            target=send_on_schedule,
            args=(
                schedule,
                load.records - load.first,
                lambda number: publisher.send(load.record(load.first + number)),
                monotonic_us,
                threading.Event().wait,
            ),
        )
        sending.start()
        results.until(load.records - behind, process, QUIET_S)
        sending.join()
    counted_us = schedule.begin_us + round(given.warm * 1e6)
    latencies = Latencies()
    for number, seen_us in results.seen_us.items():
        closing_send = number + behind - load.first
        if 0 <= closing_send < load.records - load.first:
            due_us = schedule.due_us(closing_send)
            if due_us >= counted_us:
                latencies.add(due_us, seen_us)
    return latencies


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sides", default="plain,quix,local,ray")
    arguments.add_argument("--rate", type=float, default=400, help="windows a second")
    arguments.add_argument("--seconds", type=float, default=20)
    arguments.add_argument("--warm", type=float, default=5, help="seconds that do not count")
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    sides = given.sides.split(",")
    taken: dict[str, list[dict[str, float | int | None]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as place:
        broker = server.start(port=0, data_dir=Path(place) / "kafka")
        try:
            connector = KafkaConnector(broker.bootstrap)
            for number in range(given.rounds):
                for side in sides:
                    found = measure_side(connector, side, f"{side}-{number}", given, Path(place))
                    taken[side].append(summary(found.since(0)))
                    print(side, number, taken[side][-1], flush=True)
        finally:
            server.stop(Path(place) / "kafka")
    print(f"\n{platform.platform()}, {os.cpu_count()} cores, {given.rate:g} windows/s")
    print(f"{'side':14} {'p50':>7} {'p99':>7} {'p99.9':>7} {'max':>7}   s, median of the rounds")
    for side in sides:
        row = [
            float(np.median([each[what] or np.nan for each in taken[side]]))
            for what in ("p50", "p99", "p99_9", "max")
        ]
        print(f"{side:14}", *(f"{value:7.3f}" for value in row))


if __name__ == "__main__":
    sys.exit(main())
