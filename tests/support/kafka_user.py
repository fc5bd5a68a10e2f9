"""A user of the product with a client of their own: records in, committed records out.

Everything here goes through kafka-python and the command line, nothing through the parts that
are examined.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from pipeline.clock import wall_us

BEGIN_US = 1_790_000_000_000_000
RATE = 16_000
PARTITIONS = 4
STREAMS = ["s0", "s1", "s2", "s5", "s16"]  # every lane has one
LOCAL = ("--local", "--until-end")

# Children of one process that has all libraries loaded: each takes its first step at once.
_FORKS = get_context("forkserver")
_FORKS.set_forkserver_preload(["pipeline.local", "pipeline.connectors.kafka", "librosa"])


def rfc3339(time_us: int) -> str:
    time_ = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
    return time_.isoformat(timespec="microseconds").replace("+00:00", "Z")


def noise(seed: int, seconds: float = 1.0, rate: int = RATE) -> bytes:
    """Samples of ``audio/L16``: big-endian, mono."""
    rng = np.random.default_rng(seed)
    return rng.integers(-9000, 9000, round(seconds * rate)).astype(">i2").tobytes()


def await_that(what: str, ready: Callable[[], Any], limit_s: float = 60.0) -> Any:
    """What ``ready`` gives once that is true; asked often, since nobody tells a user."""
    until = time.monotonic() + limit_s
    while not (found := ready()):
        assert time.monotonic() < until, f"{what}: not within {limit_s:g} s"
        time.sleep(0.02)
    return found


class KafkaUser:
    """One user of one broker; topics of one prefix."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=20)
        self.admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        self._consumer = KafkaConsumer(
            bootstrap_servers=bootstrap,
            isolation_level="read_committed",
            enable_auto_commit=False,
            fetch_max_wait_ms=20,
            max_partition_fetch_bytes=32 << 20,
        )
        self._anything = KafkaConsumer(bootstrap_servers=bootstrap)

    def close(self) -> None:
        self.producer.close()
        self.admin.close()
        self._consumer.close()
        self._anything.close()

    def send(
        self,
        topic: str,
        key: str | bytes | None,
        value: bytes | None,
        time_us: int | None,
        *headers: tuple[str, bytes],
        partition: int | None = None,
    ) -> None:
        """A record with its event time in ``ce_time``; unflushed."""
        own = [*headers] if time_us is None else [("ce_time", rfc3339(time_us).encode()), *headers]
        key = key.encode() if isinstance(key, str) else key
        self.producer.send(topic, value, key=key, headers=own, partition=partition)

    def ends(self, topic: str) -> dict[TopicPartition, int]:
        """The ends that a reader of committed records sees."""
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        ends: dict[TopicPartition, int] = self._consumer.end_offsets(partitions)
        return ends

    def read(self, topic: str, settled: bool = True) -> list[ConsumerRecord]:
        """All committed records, each partition in log order.

        ``settled``: once nothing is pending. A broker answers a commit before readers see it in
        every partition, some milliseconds later; an abandoned transaction hangs for 15 s.
        """
        if settled:
            await_that(f"{topic} without transactions", lambda: not self._pending(topic), 10)
        ends = self.ends(topic)
        self._consumer.assign(list(ends))
        self._consumer.seek_to_beginning(*ends)
        found: list[ConsumerRecord] = []
        while any(self._consumer.position(at) < end for at, end in ends.items()):
            for records in self._consumer.poll(500).values():
                found += records
        return found

    def send_sound(self, prefix: str, seconds: range) -> None:
        """A second of sound for each stream and second."""
        for second in seconds:
            for stream in STREAMS:
                at_us = BEGIN_US + second * 1_000_000
                self.send(f"{prefix}.audio", stream, noise(second), at_us)
        self.producer.flush()

    def results(self, name: str, settled: bool = True, topic: str = "results") -> list[str]:
        """Committed results, in an order of their own: partition and value but for the model."""
        found = []
        for record in self.read(f"{name}.{topic}", settled):
            value = json.loads(record.value)
            del value["model"]
            found.append(f"{record.partition} {json.dumps(value)}")
        return sorted(found)

    def letters(self, topic: str) -> list[tuple[Any, ...]]:
        return sorted((r.partition, r.key, r.value, *r.headers) for r in self.read(topic))

    def count(self, name: str) -> int:
        """Offsets that committed results of a pipeline take, markers among them."""
        return sum(self.ends(f"{name}.results").values())

    def _pending(self, topic: str) -> bool:
        """Whether there is something that readers of committed records still wait for."""
        partitions = list(self.ends(topic))
        return bool(
            self._anything.end_offsets(partitions) != self._consumer.end_offsets(partitions)
        )

    def committed(self, group: str) -> dict[TopicPartition, Any]:
        """What a group has committed: offset and metadata by partition."""
        found: dict[TopicPartition, Any] = self.admin.list_group_offsets({group: None})[group]
        return found

    def truncate(self, topic: str) -> None:
        """What retention does in time: nothing that was there is left."""
        self.admin.delete_records(self.ends(topic))


def windows_of(answer: Any) -> int:
    """How many windows a run has, by its summary."""
    assert answer.code == 0, answer.err
    return int(json.loads(answer.out)["windows"])


class Command:
    """A ``motet`` command line in a process of its own, with its stdout and stderr."""

    def __init__(self, arguments: Iterable[object], folder: Path) -> None:
        folder.mkdir()
        self._out, self._err = folder / "out", folder / "err"
        given = [str(argument) for argument in arguments]
        self._process = _FORKS.Process(target=_run, args=(given, self._out, self._err))
        self._process.start()

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text() if self._err.exists() else ""

    @property
    def ended(self) -> bool:
        return self._process.exitcode is not None

    def signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def wait(self, limit_s: float = 60.0) -> int:
        """Its exit code, negative for a signal."""
        self._process.join(limit_s)
        code: int | None = self._process.exitcode
        assert code is not None, f"it did not end within {limit_s:g} s"
        self._process.close()
        return code

    def kill(self) -> None:
        if self._process._closed is False and not self.ended:
            self._process.kill()
            self._process.join()


def _run(arguments: list[str], out: Path, err: Path) -> None:
    """What the child does: the entry point of ``motet``, with files for its output."""
    from actors.__main__ import main

    for path, number in ((out, 1), (err, 2)):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, number)
    sys.argv = ["motet", *arguments]
    sys.exit(main())


class Sender(threading.Thread):
    """Calls ``step(number, at_us)`` when the clock has passed ``at_us + step_us``, until its end.

    So what a step sends of ``[at_us, at_us + step_us)`` is sent as a live source would.
    """

    def __init__(self, step: Callable[[int, int], None], step_us: int) -> None:
        super().__init__(name="sender")
        self._step, self._step_us = step, step_us
        self._stop_asked = threading.Event()
        self.begin_us = -(-wall_us() // 1_000_000) * 1_000_000
        self.steps = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while True:
                due_us = self.begin_us + (self.steps + 1) * self._step_us
                if self._stop_asked.wait(max(0, due_us - wall_us()) / 1e6):
                    return
                self._step(self.steps, due_us - self._step_us)
                self.steps += 1
        except BaseException as error:
            self.failure = error

    def end(self) -> None:
        self._stop_asked.set()
        self.join(20)
        if self.failure is not None:
            raise self.failure
