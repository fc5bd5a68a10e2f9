"""Throughput of the standard job against a plain loop, both sides in one run.

The job: one-second 16 kHz mono L16 records of 32 streams in 4 partitions, log-mel, one result
each. The plain loop reads with kafka-python, computes with librosa record by record and writes
with a kafka-python producer in transactions of 250 ms: exactly once, without windows, lateness
or recovery. All sides read the same topic; every run writes into topics of its own, and its
results are checked against each other. Start-up is reported apart.

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
PEERS_HOME = Path(__file__).parents[2] / ".bench" / "peers"
PIPELINE = """
version: 1
name: {name}
kafka: {{bootstrap: "{bootstrap}"}}
inputs:
  mic: {{topic: bench.audio, type: "audio/L16;rate=16000;channels=1", out_of_orderness: 200ms}}
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


def plain_loop(bootstrap: str, name: str, features: str) -> dict[str, float]:
    """The loop that a user would write, in a process of its own (this file with ``--plain``)."""
    command = [sys.executable, __file__, "--plain", bootstrap, name, features]
    return run(command)


def motet(bootstrap: str, name: str, folder: Path, *flags: str) -> dict[str, float]:
    file = folder / f"{name}.yaml"
    file.write_text(PIPELINE.format(name=name, bootstrap=bootstrap))
    return run([sys.executable, "-m", "actors", "run", str(file), "--until-end", *flags])


def run(command: list[str]) -> dict[str, float]:
    began = time.monotonic()
    environment = {**os.environ, **CONSUMER_ENV, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    figures["start_seconds"] = time.monotonic() - began - figures["seconds"]
    return figures


def run_plain(bootstrap: str, name: str, features: str) -> None:
    """Kafka in, librosa (or our torch features, in tiles of 8) per record, Kafka out."""
    import librosa
    import torch
    from kafka import KafkaConsumer, KafkaProducer
    from kafka.structs import OffsetAndMetadata
    from kafka.structs import TopicPartition as KafkaPartition

    from pipeline.encoders.audio import LogMel
    from pipeline.encoders.base import Clip

    torch.set_num_threads(1)
    ours = LogMel(torch.device("cpu"))

    def encode(batch: list[np.ndarray]) -> list[np.ndarray]:
        if features == "torch":
            clips = [Clip("", 0, 1_000_000, samples, RATE, 0) for samples in batch]
            return list(ours.encode(clips))
        means = []
        for samples in batch:
            mel = librosa.feature.melspectrogram(
                y=samples, sr=RATE, n_fft=400, hop_length=160, n_mels=64
            )
            means.append(librosa.power_to_db(mel, top_db=None).mean(axis=1))
        return means

    encode([np.zeros(RATE, np.float32)])  # what is compiled at the first call is start-up
    partitions = [KafkaPartition("bench.audio", lane) for lane in range(LANES)]
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_partition_fetch_bytes=8 << 20,
        fetch_max_bytes=64 << 20,
    )
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    ends = consumer.end_offsets(partitions)
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        transactional_id=name,
        batch_size=1 << 20,
        linger_ms=5,
        retry_backoff_ms=10,
    )
    producer.init_transactions()
    began = time.monotonic()
    windows = 0
    positions = {}
    committed_at = time.monotonic()
    producer.begin_transaction()
    while windows < sum(ends.values()):
        for partition, records in consumer.poll(100, max_records=256).items():
            sounds = [
                np.frombuffer(record.value, ">i2").astype(np.float32) / 32768 for record in records
            ]
            tile = 64 if features == "torch" else len(sounds)
            means = []
            for first in range(0, len(sounds), tile):
                means += encode(sounds[first : first + tile])
            for record, mean in zip(records, means, strict=True):
                value = {"stream": record.key.decode(), "vector": [float(x) for x in mean]}
                producer.send(
                    f"{name}.results",
                    json.dumps(value).encode(),
                    key=record.key,
                    partition=partition.partition,
                )
            windows += len(records)
            positions[partition] = OffsetAndMetadata(records[-1].offset + 1, "", -1)
        if time.monotonic() - committed_at > 0.25 or windows >= sum(ends.values()):
            producer.flush()
            producer.send_offsets_to_transaction(positions, name)
            producer.commit_transaction()
            positions = {}
            committed_at = time.monotonic()
            if windows < sum(ends.values()):
                producer.begin_transaction()
    seconds = time.monotonic() - began
    print(json.dumps({"windows": windows, "seconds": seconds}))
    consumer.close()
    producer.close()


def peer(bootstrap: str, name: str, side: str, records: int) -> dict[str, float]:
    """A peer's own program on the job, in its own environment."""
    which, kind = (side.removesuffix("-torch"), "torch" if side.endswith("-torch") else "librosa")
    python = python_of(which, PEERS_HOME)
    return run([str(python), str(program_of(which)), bootstrap, name, kind, str(records)])


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
            if side.startswith("plain"):
                kind = "torch" if side == "plain-torch" else "librosa"
                figure = plain_loop(bootstrap, name, kind)
            elif side.removesuffix("-torch") in PACKAGES:
                figure = peer(bootstrap, name, side, given.records)
            else:
                figure = motet(bootstrap, name, folder, *(["--local"] if side == "local" else []))
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
    print(f"{'side':12} {'windows/s':>10} {'ratio':>6} {'start s':>8}")
    for side in sides:
        rate = statistics.median(f["rate"] for f in figures[side])
        start = statistics.median(f["start_seconds"] for f in figures[side])
        print(f"{side:12} {rate:10.0f} {rate / base:6.2f} {start:8.1f}")
    return {"figures": figures, "base": sides[0]}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--plain"]:
        run_plain(*sys.argv[2:5])
    else:
        main()
