"""Throughput of the standard job against a plain loop, both sides in one run.

The job: one-second 16 kHz mono L16 records of 32 streams in 4 partitions, log-mel, one result
each. The plain loop (``peers/plain_job.py``) reads with kafka-python, computes with librosa record
by record and writes with a kafka-python producer in transactions of 250 ms: exactly once, without
windows, lateness or recovery. All sides read the same topic; every run writes into topics of its
own, and its results are checked against each other. Start-up is reported apart.

Peers (``tests/bench/peers``) do the same job by programs of their own, in environments made
below ``.bench``: ``--sides plain,quix,bytewax,ray-data,bytewax-torch,local,ray``; ``-torch`` gives
them motet's own features. A peer that never closes the last windows of a stream may leave them out.

    make bench                      # or: python tests/bench/throughput.py --rounds 3 --json FILE
    make bench-peers
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from peers.environments import PACKAGES, program_of, python_of

from pipeline.broker import server
from pipeline.clock import wall_us
from pipeline.connectors.environment import CONSUMER_ENV
from pipeline.connectors.kafka import KafkaConnector
from pipeline.slot.ports import OutRecord, TopicPartition
from pipeline.tasks.results import rfc3339

STREAMS, LANES, RATE = 32, 4, 16_000
OPEN_AT_END = {"quix": 2}  # windows of each stream: it closes one when a later record comes
MOTET = {"local": ["--local"], "ray": []}
PEERS_HOME = Path(__file__).parents[2] / ".bench" / "peers"
PIPELINE = """
version: 1
name: {name}
kafka: {{bootstrap: "{bootstrap}"}}
inputs:
  mic: {{topic: "{input}", type: "audio/L16;rate=16000;channels=1", out_of_orderness: 200ms}}
windows: {{size: 1s}}
stages:
  sound: {{encoder: log_mel, of: mic}}
fusion: {{rule: weighted_sum, of: {{sound: 1}}, normalize: none}}
outputs: {{results: {name}.results, late: {name}.late, dead_letter: {name}.dead}}
"""


def publish(connector: KafkaConnector, records: int) -> None:
    """``records`` in time order, a second of each stream after the other."""
    rng = np.random.default_rng(0)
    sounds = [rng.integers(-9000, 9000, RATE).astype(">i2").tobytes() for _ in range(64)]
    begin_us = wall_us() // 1_000_000 * 1_000_000 - (records // STREAMS + 10) * 1_000_000
    publisher = connector.publisher()
    for number in range(records):
        second, stream = divmod(number, STREAMS)
        at_us = begin_us + second * 1_000_000
        headers = (("ce_time", rfc3339(at_us)),)
        key, lane = f"stream-{stream}".encode(), stream % LANES
        sound = sounds[number % len(sounds)]
        publisher.send(OutRecord("bench.audio", lane, key, sound, headers))
    publisher.flush()
    publisher.close()


def motet(bootstrap: str, name: str, folder: Path, *flags: str) -> dict[str, float]:
    return run([*motet_command(bootstrap, name, folder, "bench.audio", *flags), "--until-end"])


def motet_command(
    bootstrap: str, name: str, folder: Path, input_topic: str, *flags: str
) -> list[str]:
    file = folder / f"{name}.yaml"
    file.write_text(PIPELINE.format(name=name, bootstrap=bootstrap, input=input_topic))
    return [sys.executable, "-m", "actors", "run", str(file), *flags]


def run(command: list[str]) -> dict[str, float]:
    """What it printed last, and what it took (Linux): ``cpu_seconds`` with its start, and
    ``memory_bytes``, the most that one process of it held.
    """
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    figures: dict[str, float] = json.loads(lines[-1])
    figures["start_seconds"] = time.monotonic() - began - figures["seconds"]
    figures["cpu_seconds"] = used.ru_utime + used.ru_stime
    figures["memory_bytes"] = used.ru_maxrss * 1024
    return figures


def environment() -> dict[str, str]:
    """All sides': one thread for a call's arithmetic, buffers that are kept."""
    return {**os.environ, **CONSUMER_ENV, "OMP_NUM_THREADS": "1"}


def peer(bootstrap: str, name: str, side: str, records: int) -> dict[str, float]:
    """A peer's own program on the job, in its own environment."""
    return run(peer_command(bootstrap, name, side, records))


def peer_command(bootstrap: str, name: str, side: str, records: int) -> list[str]:
    which, kind = (side.removesuffix("-torch"), "torch" if side.endswith("-torch") else "librosa")
    python = python_of(which, PEERS_HOME) if which in PACKAGES else sys.executable
    return [str(python), str(program_of(which)), bootstrap, name, kind, str(records)]


def sums_of(connector: KafkaConnector, topic: str) -> dict[str, list[float]]:
    """By stream, the sum of each of its vectors, in the order of time where a result tells it."""
    found: dict[str, list[tuple[int, float]]] = {}
    control, source = connector.control(), connector.source()
    partitions = [TopicPartition(topic, lane) for lane in range(LANES)]
    ends = control.stable_ends(partitions)
    source.assign(dict.fromkeys(partitions, 0))
    positions = dict.fromkeys(partitions, 0)
    while any(positions[tp] < ends[tp] for tp in partitions):
        for fetch in source.poll(1.0):
            positions[TopicPartition(fetch.topic, fetch.partition)] = fetch.position
            for record in fetch.records:
                value = json.loads(record.value)
                vector = value["vector"] if "vector" in value else value["output"]["vector"]
                of_stream = found.setdefault(value["stream"], [])
                of_stream.append((value.get("start_us", len(of_stream)), sum(vector)))
    source.close()
    control.close()
    return {stream: [each for _, each in sorted(sums)] for stream, sums in found.items()}


def check(side: str, sums: dict[str, list[float]], reference: dict[str, list[float]]) -> None:
    """AssertionError where results differ, or a window is missing that the side should close."""
    assert sums.keys() == reference.keys(), f"{side} has other streams"
    for stream, theirs in reference.items():
        missing = len(theirs) - len(sums[stream])
        assert missing == OPEN_AT_END.get(side.removesuffix("-torch"), 0), (
            f"{side}: {missing} missing"
        )
        worst = max(abs(a - b) for a, b in zip(sums[stream], theirs, strict=False))
        assert worst < 1e-2, f"{side} gives other results in {stream}: {worst}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--records", type=int, default=4800)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--sides", default="plain,plain-torch,local,ray")
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        broker = server.start(port=0, data_dir=Path(place) / "kafka")
        try:
            table = measure(broker.bootstrap, given, Path(place))
        finally:
            server.stop(Path(place) / "kafka")
    if given.json:
        given.json.write_text(json.dumps(table, indent=1))


def measure(bootstrap: str, given: argparse.Namespace, folder: Path) -> dict[str, object]:
    connector = KafkaConnector(bootstrap)
    control = connector.control()
    control.create_topic("bench.audio", LANES, 1, {})
    publish(connector, given.records)
    sides = given.sides.split(",")
    figures: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    reference: dict[str, list[float]] | None = None
    for number in range(given.rounds):
        for side in sides:
            name = f"{side}-{number}"
            for topic in ("results", "late", "dead"):
                control.create_topic(f"{name}.{topic}", LANES, 1, {})
            if side in MOTET:
                figure = motet(bootstrap, name, folder, *MOTET[side])
            else:
                figure = peer(bootstrap, name, side, given.records)
            figure["rate"] = figure["windows"] / figure["seconds"]
            figures[side].append(figure)
            sums = sums_of(connector, f"{name}.results")
            reference = reference or sums
            check(side, sums, reference)
            assert figure["windows"] == sum(len(each) for each in sums.values())
            print(f"{name}: {figure['rate']:.0f} windows/s, start {figure['start_seconds']:.1f} s")
    control.close()
    base = statistics.median(f["rate"] for f in figures[sides[0]])
    print(f"\n{platform.platform()}, {os.cpu_count()} cores, {given.records} records")
    heads = "windows/s", "ratio", "start s", "CPU s", "peak MB"
    print(f"{'side':16}", *(f"{head:>9}" for head in heads))
    for side in sides:
        rate, start, cpu, memory = (
            statistics.median(f[what] for f in figures[side])
            for what in ("rate", "start_seconds", "cpu_seconds", "memory_bytes")
        )
        print(
            f"{side:16} {rate:9.0f} {rate / base:9.2f} {start:9.1f} {cpu:9.1f} {memory / 1e6:9.0f}"
        )
    print("CPU with the start's; a peak is one process's, and says nothing of several (Ray)")
    return {"figures": figures, "base": sides[0]}


if __name__ == "__main__":
    main()
