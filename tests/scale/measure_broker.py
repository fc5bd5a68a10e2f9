"""Processor time of a real Kafka and of its clients here: reading, transactions, the coordinator.

What the broker does is read off its threads (``/proc``), by their names: the group coordinator has
threads of its own, so its share of a transaction is known.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from measure_tasks import RATE, SECOND_US

from pipeline.broker import server
from pipeline.clock import wall_us
from pipeline.connectors.kafka import KafkaConnector
from pipeline.lane import LaneCut
from pipeline.slot.committer import Committer, SlotIdentity
from pipeline.slot.ports import OutRecord, TopicPartition
from pipeline.tasks.results import rfc3339

TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
TOPIC, RESULTS, STREAMS = "scale.audio", "scale.results", 32


@contextmanager
def broker() -> Iterator[tuple[str, int]]:
    """Bootstrap and process of an embedded Kafka that is gone afterwards."""
    with tempfile.TemporaryDirectory() as place:
        started = server.start(port=0, data_dir=Path(place) / "kafka")
        try:
            yield started.bootstrap, started.pid
        finally:
            server.stop(Path(place) / "kafka")


def threads_us(pid: int) -> dict[str, int]:
    """By thread's name without its number, processor time so far (in ticks of 10 ms)."""
    found: dict[str, int] = {}
    for entry in Path(f"/proc/{pid}/task").iterdir():
        try:
            text = (entry / "stat").read_text()
        except OSError:
            continue
        name = text[text.index("(") + 1 : text.rindex(")")].rstrip("0123456789-# ")
        fields = text.rpartition(")")[2].split()
        found[name] = found.get(name, 0) + (int(fields[11]) + int(fields[12])) * TICK_US
    return found


def process_us(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_US


def publish(connector: KafkaConnector, topic: str, records: int, lanes: int) -> None:
    """Records of a second, in time order, of STREAMS streams."""
    rng = np.random.default_rng(0)
    sounds = [rng.integers(-9000, 9000, RATE).astype(">i2").tobytes() for _ in range(64)]
    begin_us = wall_us() // SECOND_US * SECOND_US - (records // STREAMS + 10) * SECOND_US
    publisher = connector.publisher()
    for number in range(records):
        second, stream = divmod(number, STREAMS)
        headers = (("ce_time", rfc3339(begin_us + second * SECOND_US)),)
        key, sound = f"stream-{stream}".encode(), sounds[number % len(sounds)]
        publisher.send(OutRecord(topic, stream % lanes, key, sound, headers))
    publisher.flush()
    publisher.close()


def reading(connector: KafkaConnector, pid: int, records: int, lanes: int) -> dict[str, float]:
    """Of a source that reads the topic to its end: itself for each record, and the broker."""
    source = connector.source()
    source.assign({TopicPartition(TOPIC, lane): 0 for lane in range(lanes)})
    source.poll(2.0)
    seen, polls = 0, 0
    began_us, broker_us = time.process_time_ns() / 1e3, process_us(pid)
    while seen < records - 600:
        seen += sum(len(fetch.records) for fetch in source.poll(0.5))
        polls += 1
    took_us = time.process_time_ns() / 1e3 - began_us
    told_us = process_us(pid) - broker_us
    empty = 200
    while source.poll(0.1):
        pass
    began_us = time.process_time_ns() / 1e3
    for _ in range(empty):
        source.poll(0.0)
    poll_us = (time.process_time_ns() / 1e3 - began_us) / empty
    source.close()
    record_us = max(0.0, took_us - polls * poll_us) / seen
    return {"source_record": record_us, "poll": poll_us, "broker_out": told_us / seen}


def committer(
    connector: KafkaConnector, slot: int, lanes: tuple[int, ...]
) -> tuple[Committer, Callable[[], None]]:
    """One of its own for the slot, and how it is closed."""
    identity = SlotIdentity("scale", slot, 64, "owner", "0" * 16, {"mic": TOPIC},
                            {TOPIC: "topic"}, lanes)  # fmt: skip
    sink, control = connector.sink(f"scale.{slot}", "scale"), connector.control()
    sink.open()
    made = Committer(identity, sink, control, time.sleep)
    made.claim(cuts(lanes, 0), dict.fromkeys(lanes))

    def close() -> None:
        sink.close()
        control.close()

    return made, close


def cuts(lanes: tuple[int, ...], number: int) -> dict[int, LaneCut]:
    at = {"mic": number}
    return {lane: LaneCut(number, at, at, number, number) for lane in lanes}


def transactions(
    connector: KafkaConnector, pid: int, times: int, records: int, lanes: tuple[int, ...], slot: int
) -> dict[str, float]:
    """Of one transaction of so many records and partitions: client, wall, broker, coordinator."""
    made, close = committer(connector, slot, lanes)
    value = b'{"stream":"stream-1","vector":[' + b"-12.345678," * 64 + b"0]}"
    out = [
        OutRecord(RESULTS, lanes[n % len(lanes)], b"stream-1", value, ()) for n in range(records)
    ]
    for number in range(1, 4):
        made.commit(cuts(lanes, number), out)
    began_us, began_s = time.process_time_ns() / 1e3, time.monotonic()
    before, threads = process_us(pid), threads_us(pid)
    for number in range(4, 4 + times):
        made.commit(cuts(lanes, number), out)
    took_us, wall_us_ = time.process_time_ns() / 1e3 - began_us, (time.monotonic() - began_s) * 1e6
    told_us = process_us(pid) - before
    after = threads_us(pid)
    coordinator = sum(
        after[name] - threads.get(name, 0) for name in after if name.startswith("group-coordinat")
    )
    close()
    return {
        "client": took_us / times,
        "wall": wall_us_ / times,
        "broker": told_us / times,
        "coordinator": coordinator / times,
    }


def measured(records: int = 4_800, times: int = 400) -> dict[str, float]:
    with broker() as (bootstrap, pid):
        connector = KafkaConnector(bootstrap)
        control = connector.control()
        for topic in (TOPIC, RESULTS):
            control.create_topic(topic, 64, 1, {})
        control.close()
        publish(connector, TOPIC, records, 4)
        found = reading(connector, pid, records, 4)
        transactions(connector, pid, 4 * times, 20, tuple(range(4)), 0)  # warms the broker up
        one = transactions(connector, pid, times, 0, (0,), 1)
        many = transactions(connector, pid, times, 0, tuple(range(64)), 2)
        full = transactions(connector, pid, times, 400, (0,), 3)
    found |= {
        "commit": one["client"],
        "partition": max(0.0, many["client"] - one["client"]) / 63,
        "write": max(0.0, full["client"] - one["client"]) / 400,
        "commit_wall": max(0.0, one["wall"] - one["client"] - one["broker"]),
        "broker_commit": one["broker"],
        "broker_in": max(0.0, full["broker"] - one["broker"]) / 400,
        "coordinator": one["coordinator"],
        "coordinator_partition": max(0.0, many["coordinator"] - one["coordinator"]) / 63,
    }
    return found


if __name__ == "__main__":
    for name, took in measured().items():
        print(f"{name:24} {took:10.2f} us")
