"""How far ingest is from the least that can be done: a record read and its samples in a row.

The standard job's records (a second of 16 kHz sound, 32 streams, 4 partitions) from the embedded
Kafka to rows of float32, 64 at a time, by three ways that take turns; CPU time of the whole
process, so the client's own threads count, and no other load of the machine does:

- ``stock``: kafka-python's consumer as it comes, and the rows;
- ``bare``: motet's reading of the log (``pipeline/connectors/kafka``), and the rows;
- ``ingest``: the same with all that motet does before an encoder runs: stream, event time, lane,
  windows, jobs, batches, clips. What it closes is given back as committed.

    python tests/bench/ingest_floor.py --records 8000 --rounds 5
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from numpy.typing import NDArray

from pipeline.benchmark.ground import Filled, Ground, filled, run_name
from pipeline.benchmark.jobs import JOBS
from pipeline.benchmark.topics import input_topics
from pipeline.broker import server
from pipeline.clock import monotonic_us
from pipeline.connectors.environment import keep_buffers
from pipeline.connectors.kafka import KafkaConnector
from pipeline.connectors.publish import usable
from pipeline.encoders.base import Clip
from pipeline.encoders.checking import check_pipeline, stage_plan
from pipeline.encoders.running import EncodeTask
from pipeline.features.int16 import floats
from pipeline.local import take_slots
from pipeline.media.pcm import INT16_FORMATS
from pipeline.slot.ports import Source, TopicPartition
from pipeline.spec import PipelineSpec
from pipeline.tasks.ingest import IngestTask
from pipeline.tasks.messages import Cut
from pipeline.tasks.retry import Retry
from pipeline.tasks.starting import check_topics, close_all

RATE, FORM, BATCH, STAGE = 16_000, "S16BE", 64, "sound"
POLL_S, STOCK_RECORDS = 0.2, 500


class Spent(NamedTuple):
    """Rows that were made, and the CPU seconds of it; how a side sets itself up is not in them."""

    rows: int
    cpu_s: float


def spent(make: Callable[[], int]) -> Spent:
    began_s = time.process_time()
    rows = make()
    return Spent(rows, time.process_time() - began_s)


class Nothing:
    """An encoder that counts what it is given."""

    takes, gives, rate = "audio", "vector", RATE

    def __init__(self, length: int | None) -> None:
        self.clips = 0
        self._row = np.zeros(length or 1, np.float32)

    def encode(self, batch: Sequence[Clip]) -> list[NDArray[np.float32]]:
        self.clips += sum(clip.samples is not None and len(clip.samples) == RATE for clip in batch)
        return [self._row] * len(batch)


def rows_of(payloads: Iterator[bytes]) -> int:
    """Batch by batch, as an encoder would get them; how many there were."""
    count, batch = 0, []
    for payload in payloads:
        batch.append(payload)
        if len(batch) == BATCH:
            count += made_floats(batch)
            batch = []
    return count + made_floats(batch)


def made_floats(batch: Sequence[bytes]) -> int:
    return len([floats(np.frombuffer(each, INT16_FORMATS[FORM])) for each in batch])


def stock(connector: KafkaConnector, spec: PipelineSpec, ends: dict[TopicPartition, int]) -> Spent:
    consumer = KafkaConsumer(
        bootstrap_servers=spec.kafka.bootstrap, isolation_level="read_committed",
        auto_offset_reset="earliest", max_partition_fetch_bytes=8 << 20,
        fetch_max_bytes=64 << 20, enable_auto_commit=False, group_id=None,
    )  # fmt: skip
    consumer.assign([KafkaPartition(*partition) for partition in ends])
    total = sum(ends.values())

    def payloads() -> Iterator[bytes]:
        seen = 0
        while seen < total:
            for records in consumer.poll(POLL_S * 1e3, max_records=STOCK_RECORDS).values():
                seen += len(records)
                for record in records:
                    yield record.value

    try:
        return spent(lambda: rows_of(payloads()))
    finally:
        consumer.close()


def bare(connector: KafkaConnector, spec: PipelineSpec, ends: dict[TopicPartition, int]) -> Spent:
    source = connector.source()
    source.assign(dict.fromkeys(ends, 0))
    total = sum(ends.values())

    def payloads() -> Iterator[bytes]:
        seen = 0
        while seen < total:
            for fetch in source.poll(POLL_S):
                seen += len(fetch.records)
                for record in fetch.records:
                    yield record.value or b""

    try:
        return spent(lambda: rows_of(payloads()))
    finally:
        source.close()


def ingest(connector: KafkaConnector, spec: PipelineSpec, ends: dict[TopicPartition, int]) -> Spent:
    control = connector.control()
    layout = check_topics(spec, control)
    control.close()
    owners, cuts = take_slots(spec, connector, layout, Retry(threading.Event()))
    plan = stage_plan(spec, STAGE, check_pipeline(spec))
    source, encoder = connector.source(), Nothing(plan.length)
    encode = EncodeTask(encoder, plan)
    task = IngestTask(spec, cuts, ends, paced=False)
    task.set_replicas(STAGE, [STAGE])
    try:
        source.assign(task.assignment())

        def clips() -> int:
            while not task.finished:
                _turn(task, source, encode)
            return encoder.clips

        return spent(clips)
    finally:
        source.close()
        close_all(owners)


def _turn(task: IngestTask, source: Source, encode: EncodeTask) -> None:
    now_us = monotonic_us()
    task.on_fetches(source.poll(POLL_S), now_us)
    more = True
    while more:
        more = task.pump(now_us)
        while assignments := task.take_assignments(now_us):
            for one in assignments:
                results = encode.run(one.jobs)
                assert not any(result.failure for result in results)
                task.on_batch(one.number, results, now_us)
        for slot, messages in task.take_deliveries().items():
            cuts = {m.lane: m.cut.number for m in messages if isinstance(m, Cut)}
            task.on_committed(slot, cuts)


SIDES: dict[str, Callable[[KafkaConnector, PipelineSpec, dict[TopicPartition, int]], Spent]] = {
    "stock": stock,
    "bare": bare,
    "ingest": ingest,
}


def measure(connector: KafkaConnector, backlog: Filled, ground: Ground, rounds: int) -> None:
    [topic] = input_topics(backlog.job, backlog.source)
    control = connector.control()
    partitions = usable(control.topics([topic]), "")[topic].partitions
    ends = control.stable_ends([TopicPartition(topic, number) for number in range(partitions)])
    control.close()
    took: dict[str, list[float]] = {side: [] for side in SIDES}
    for number in range(rounds + 1):  # the first warms caches and compiles
        for side, run in SIDES.items():
            with run_name(ground) as name:
                spec = backlog.order(ground, name, local=True).spec
                rows, cpu_s = run(connector, spec, ends)
            if rows != backlog.windows:
                raise SystemExit(f"{side} made {rows} rows of {backlog.windows} records")
            if number:
                took[side].append(cpu_s / rows * 1e6)
    least = statistics.median(took["bare"])
    for side, each in took.items():
        middle = statistics.median(each)
        print(f"{side:8s}{middle:8.1f} us a record ({min(each):.1f} to {max(each):.1f})"
              f"{middle / least:8.2f} times bare")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=8_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    keep_buffers()
    with tempfile.TemporaryDirectory() as place:
        broker = server.start(port=0, data_dir=Path(place) / "kafka")
        try:
            connector = KafkaConnector(broker.bootstrap)
            ground = Ground((), broker.bootstrap, connector, broker.pid, print)
            with filled(ground, JOBS["audio"], given.records) as backlog:
                measure(connector, backlog, ground, given.rounds)
        finally:
            server.stop(Path(place) / "kafka")


if __name__ == "__main__":
    main()
